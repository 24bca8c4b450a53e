package redisapikey

import "github.com/redis/go-redis/v9"

// The format, for every release that shares it. A change ships readers before writers, or a new prefix.
//
//	{dw}:k:id     hash        a key; see the names in row.go. It expires with the key. For a minute after a key was revoked: gone, the
//	                          id of that call, so that neither it nor the making of the key, sent again, finds nothing there
//	{dw}:K:owner  sorted set  ids of an owner's keys by when they expire; owner is a hash of issuer and subject
//
// Every script declares its keys. None has the flag no-writes, so that a replica (READONLY) and a master without
// enough replicas (NOREPLICAS) refuse to be asked too. allow-oom is for what must work over maxmemory.
//
// A call may be sent twice, since go-redis repeats one whose answer was lost: a script that meets its own work
// answers as it did.

// KEYS: key, index. ARGV: id, most, now, expires, proofs, then the fields. What is over by both clocks leaves the index: a node whose
// clock is ahead must not hide keys that still work.
var createScript = redis.NewScript(`#!lua
local call = redis.call
if call('EXISTS', KEYS[1]) == 1 then
	if call('HGET', KEYS[1], 'proofs') == ARGV[5] then
		return {1}
	end
	return {'taken'}
end
local t = call('TIME')
local now = math.min(tonumber(ARGV[3]), t[1] * 1000 + math.floor(t[2] / 1000))
call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
if call('ZCOUNT', KEYS[2], '(' .. ARGV[3], '+inf') >= tonumber(ARGV[2]) then
	return {0}
end
call('HSET', KEYS[1], unpack(ARGV, 6))
call('PEXPIREAT', KEYS[1], ARGV[4])
call('ZADD', KEYS[2], ARGV[4], ARGV[1])
local last = call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
call('PEXPIREAT', KEYS[2], string.format('%.0f', tonumber(last[2])))
return {1}
`)

// KEYS: keys. ARGV: the names of the fields.
var getScript = redis.NewScript(`#!lua flags=allow-oom
local all = {}
for _, key in ipairs(KEYS) do
	local row = redis.call('HMGET', key, unpack(ARGV))
	for i = 1, #ARGV do
		all[#all + 1] = row[i]
	end
end
return all
`)

// KEYS: key, index. ARGV: id, present hash, issuer, subject, made, expires, proofs.
var swapScript = redis.NewScript(`#!lua flags=allow-oom
local call = redis.call
local proofs = call('HGET', KEYS[1], 'proofs')
if not proofs then
	return {0}
end
local whose = call('HMGET', KEYS[1], 'issuer', 'subject')
if whose[1] ~= ARGV[3] or whose[2] ~= ARGV[4] then
	return {0}
end
if proofs == ARGV[7] then
	return {1}
end
if string.sub(proofs, 1, 65) ~= ARGV[2] .. ':' then
	return {0}
end
call('HSET', KEYS[1], 'made', ARGV[5], 'expires', ARGV[6], 'proofs', ARGV[7])
call('PEXPIREAT', KEYS[1], ARGV[6])
call('ZADD', KEYS[2], ARGV[6], ARGV[1])
local last = call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
call('PEXPIREAT', KEYS[2], string.format('%.0f', tonumber(last[2])))
return {1}
`)

// KEYS: key. ARGV: at.
var touchScript = redis.NewScript(`#!lua flags=allow-oom
local call = redis.call
if not call('HGET', KEYS[1], 'proofs') then
	return {0}
end
local used = call('HGET', KEYS[1], 'used')
if used and tonumber(ARGV[1]) - (tonumber(used) or 0) < 60000 then
	return {0}
end
call('HSET', KEYS[1], 'used', ARGV[1])
return {1}
`)

// KEYS: key, index. ARGV: id, issuer, subject, id of the call.
var deleteScript = redis.NewScript(`#!lua flags=allow-oom
local call = redis.call
local gone = call('HGET', KEYS[1], 'gone')
if gone then
	return {gone == ARGV[4] and 1 or 0}
end
local whose = call('HMGET', KEYS[1], 'issuer', 'subject')
if whose[1] ~= ARGV[2] or whose[2] ~= ARGV[3] then
	return {0}
end
call('DEL', KEYS[1])
call('HSET', KEYS[1], 'gone', ARGV[4])
call('PEXPIRE', KEYS[1], '60000')
call('ZREM', KEYS[2], ARGV[1])
return {1}
`)

// KEYS: index.
var idsScript = redis.NewScript(`#!lua flags=allow-oom
return redis.call('ZRANGE', KEYS[1], 0, -1)
`)
