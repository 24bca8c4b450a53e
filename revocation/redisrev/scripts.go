package redisrev

import "github.com/redis/go-redis/v9"

// The format, for every release that shares it. A change ships readers before writers, or a new prefix.
//
//	{dw}:epoch  hash    fmt=1, id, run: the epoch, and the server and history that it was begun on
//	{dw}:log    stream  k: a look-up key without its tag; m: the minimum where it has one
//	{dw}:s:sid  string  "1", for revocation.Keep from the last ending; j: alike
//	{dw}:v:own  string  the minimum, merged by maximum; its life is renewed
//	{dw}:nodes  hash    nodes that answer from memory
//
// Every script declares its keys, and its first key is the epoch. The shebang asks Redis for script
// flags: allow-oom, since an ending must work over maxmemory, and not no-writes, so that a replica
// (READONLY) and a master without enough replicas (NOREPLICAS) refuse a mere check too.

// common leaves epoch and run behind; epoch is empty when the list may have forgotten. run is the
// process, which a restart changes, and the history of its data, which a promotion changes: a master
// that was demoted and comes back is the same process with another's data.
const common = `#!lua flags=allow-oom
local info = redis.call('INFO', 'server', 'replication')
local _, at = string.find(info, '\nrun_id:', 1, true)
local run = string.sub(info, at + 1, at + 40)
_, at = string.find(info, '\nrole:master\r', at, true)
if not at then
	return redis.error_reply('READONLY the list is asked for on a replica')
end
_, at = string.find(info, '\nmaster_replid:', at, true)
run = run .. ':' .. string.sub(info, at + 1, at + 40)
local e = redis.call('HMGET', KEYS[1], 'fmt', 'id', 'run')
if e[1] ~= '1' and (e[1] or e[2] or e[3]) then
	return redis.error_reply('DWFORMAT ' .. KEYS[1] .. ' has an unknown fmt, expected 1')
end
local epoch = ''
if e[1] and e[2] and e[3] == run then
	epoch = e[2]
end
`

// begin makes the proposed epoch the present one where there is none.
const begin = `
local function begin()
	if epoch == '' then
		epoch = ARGV[1]
		redis.call('HSET', KEYS[1], 'fmt', '1', 'id', epoch, 'run', run)
	end
end
`

// step is what a script that writes entries begins with. KEYS: epoch, log, nodes. ARGV: the proposed id,
// the life of an entry in milliseconds. What can fail is done before anything is written, as Redis takes nothing
// back: weigh and publish come before a script's own writes, and weigh before publish.
//
//	now              Redis's time in milliseconds
//	less(a, b)       compares integers as text: a Lua number is exact to 2^53 only
//	weigh(k, m)      merges m with the minimum in k, by maximum
//	publish(k)       writes the entry of a look-up key, with the minimum that was weighed for it, if one was
//	begin()          begins an epoch where there is none
//	reply(...)       the answer, behind what Step reads of it
const step = common + begin + `
local nodes = redis.call('HGETALL', KEYS[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local least, last = {}, false
local function less(a, b)
	return #a < #b or #a == #b and a < b
end
local function weigh(k, m)
	local old = least[k] or redis.call('GET', k)
	if old and (#old > 19 or not string.find(old, '^[1-9]%d*$')) then
		error(redis.error_reply('DWFORMAT ' .. k .. ' holds something else than a minimum'))
	end
	least[k] = old and less(m, old) and old or m
end
local function publish(k)
	local oldest, m = string.format('%.0f', now - ARGV[2]), least[k]
	local name = string.sub(k, #KEYS[1] - #'epoch' + 1)
	if m then
		last = redis.call('XADD', KEYS[2], 'MINID', '~', oldest, '*', 'k', name, 'm', m)
	else
		last = redis.call('XADD', KEYS[2], 'MINID', '~', oldest, '*', 'k', name)
	end
	redis.call('SET', k, m or '1', 'PX', ARGV[2])
end
local function reply(...)
	return {epoch, last, nodes, ...}
end
`

// KEYS: epoch, then what to look up. GET and not MGET, which takes a foreign type for "nothing there".
var checkScript = redis.NewScript(common + `
local reply = {epoch}
if epoch ~= '' then
	for i = 2, #KEYS do
		reply[i] = redis.call('GET', KEYS[i])
	end
end
return reply
`)

// KEYS: epoch. ARGV: the proposed id.
var epochScript = redis.NewScript(common + begin + `begin() return {epoch}`)

// KEYS from the fourth: a look-up key for each entry. ARGV from the third: for each entry its minimum, empty for none.
var addScript = NewScript(`
for i = 4, #KEYS do
	if ARGV[i - 1] ~= '' then
		weigh(KEYS[i], ARGV[i - 1])
	end
end
for i = 4, #KEYS do
	publish(KEYS[i])
end
begin()
return reply()
`)

// KEYS: epoch, so that it runs where the list is.
var readyScript = redis.NewScript(common + `
local memory = redis.call('INFO', 'memory')
return {string.match(memory, '\nmaxmemory:(%d+)'), string.match(memory, '\nmaxmemory_policy:([%w-]+)')}
`)
