package redisrev

import "github.com/redis/go-redis/v9"

// The format, for every release that shares it. A change ships readers before writers, or a new prefix.
//
//	{dw}:epoch  hash    fmt=1, id, run: the epoch, and the server and history that it was begun on; at: when, in ms
//	{dw}:log    stream  k: a look-up key without its tag; m: its value, unless it is a mark of 1
//	{dw}:s:sid  string  1, or 0 where another session took its place; it lives for life from the last entry
//	{dw}:j:id   string  1, alike
//	{dw}:v:own  string  the minimum, merged by maximum; its life is renewed
//	{dw}:nodes  hash    nodes that answer from memory: the epoch, the id of the last entry that it has applied, a count
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

// begin makes the proposed epoch the present one where there is none. age is how long it is the present one, in
// milliseconds of Redis's clock, as text.
const begin = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function begin()
	if epoch == '' then
		epoch = ARGV[1]
		redis.call('HSET', KEYS[1], 'fmt', '1', 'id', epoch, 'run', run, 'at', string.format('%.0f', now))
	end
end
local function age()
	return string.format('%.0f', math.max(0, now - (tonumber(redis.call('HGET', KEYS[1], 'at')) or now)))
end
`

// step is what a script that writes entries begins with. KEYS: epoch, log, nodes. ARGV: the proposed id, and how long
// an entry must be on the list from now on, in milliseconds. What can fail is done before anything is written, as Redis
// takes nothing back: weigh and publish come before a script's own writes, and weigh before publish.
//
// An entry that says the same or more, and has that long to live, is not written again: who repeats an ending makes no
// second entry. It is written for an eighth longer than it must live, so that a name is written nine times within
// the life of its first entry at most, however often it is ended. The caller waits for it all the same.
//
//	now              Redis's time in milliseconds
//	less(a, b)       compares integers as text: a Lua number is exact to 2^53 only
//	weigh(k, m)      merges m with the minimum in k, by maximum
//	publish(k)       has the entry of a look-up key on the list, with the minimum that was weighed for it, if one was
//	replace(k)       alike for a session that another takes the place of; one that has ended stays ended
//	top()            has the caller wait for all that is on the list, if anything is: what it asks for may have been
//	                 done before, by a command whose answer was lost, and that waited for nobody
//	begin()          begins an epoch where there is none
//	reply(...)       the answer, behind what Step reads of it
const step = common + begin + `
local nodes = redis.call('HLEN', KEYS[3])
local keep = tonumber(ARGV[2])
local life = string.format('%.0f', keep * 9 / 8)
local least, last, told = {}, false, {}
local function less(a, b)
	return #a < #b or #a == #b and a < b
end
local function top()
	local entry = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
	if entry then
		redis.call('HSET', KEYS[1], 'fmt', '1') -- changes nothing, and is a write that WAIT counts from
		last = entry[1]
	end
	return entry
end
local function weigh(k, m)
	local old = least[k] or redis.call('GET', k)
	if old and (#old > 19 or not string.find(old, '^[1-9]%d*$')) then
		error(redis.error_reply('DWFORMAT ' .. k .. ' holds something else than a minimum'))
	end
	least[k] = old and less(m, old) and old or m
end
-- listed says whether the log still has the entry that k was written with, for long enough: a node that reads the log from
-- its start, after somebody has cut it, knows only what is there. The end of k tells the millisecond of its entry.
local function listed(k, name)
	local ends = redis.call('PEXPIRETIME', k)
	if ends - now < keep then
		return false
	end
	local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
	local begins, at = first and tonumber(string.match(first[1], '^%d+')), ends - life
	if begins ~= at then
		return begins and begins < at -- a log is cut from its start
	end
	at = string.format('%.0f', at)
	local moment = redis.call('XRANGE', KEYS[2], at, at, 'COUNT', 100)
	for _, entry in ipairs(moment) do
		if entry[2][2] == name then
			return true
		end
	end
	return #moment == 100 -- a clock that went back makes one moment of many: not all of them are read
end
local function put(k, m)
	local name, value = string.sub(k, #KEYS[1] - #'epoch' + 1), m or '1'
	table.insert(told, name)
	table.insert(told, value)
	if redis.pcall('GET', k) == value and listed(k, name) then
		top()
		return
	end
	local oldest = string.format('%.0f', now - life)
	if m then
		last = redis.call('XADD', KEYS[2], 'MINID', '~', oldest, '*', 'k', name, 'm', m)
	else
		last = redis.call('XADD', KEYS[2], 'MINID', '~', oldest, '*', 'k', name)
	end
	redis.call('SET', k, value, 'PXAT', string.format('%.0f', string.match(last, '^%d+') + life))
end
local function publish(k)
	put(k, least[k])
end
local function replace(k)
	put(k, redis.call('GET', k) ~= '1' and '0' or nil)
end
local function reply(...)
	return {epoch, last, nodes, age(), told, ...}
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
var epochScript = redis.NewScript(common + begin + `begin() return {epoch, age()}`)

// KEYS from the fourth: a look-up key for each entry. ARGV from the third: for each entry its minimum, "replaced", or
// empty.
var addScript = NewScript(`
for i = 4, #KEYS do
	if ARGV[i - 1] == 'replaced' then
		redis.call('GET', KEYS[i]) -- fails before anything is written
	elseif ARGV[i - 1] ~= '' then
		weigh(KEYS[i], ARGV[i - 1])
	end
end
for i = 4, #KEYS do
	if ARGV[i - 1] == 'replaced' then
		replace(KEYS[i])
	else
		publish(KEYS[i])
	end
end
begin()
return reply()
`)

// before compares ids of the log, whose parts are too large for a Lua number.
const before = `
local function before(a, b)
	local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
	local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
	if not ams or not bms then
		error(redis.error_reply('DWFORMAT ' .. KEYS[2] .. ' or ' .. KEYS[3] .. ' has an id that is none'))
	end
	if ams ~= bms then
		return #ams < #bms or #ams == #bms and ams < bms
	end
	return #aseq < #bseq or #aseq == #bseq and aseq < bseq
end
`

// leaseScript is registration, acknowledgement and reading in one. A node is registered only by a reply that reaches
// the end of the log, since only that is a lease: a node that is loading, or has fallen behind, keeps nobody waiting. A
// registration does not go back to a lower count: a command that the client sent twice may run late, and would make a node
// that has renewed since look as if it had not, to one who is about to forget it.
//
// KEYS: epoch, log, nodes. ARGV: the proposed id, node, epoch known, id of the last entry applied, a count, the most
// entries, where to go on with a round through the registrations, or nothing. Reply: epoch, age, 1 if the entries are from
// the start, 1 if they reach the end, now, entries, the next part of the round as HSCAN gives it.
var leaseScript = redis.NewScript(common + begin + before + `
begin()
local top = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local last, at, start = top and top[1] or '0-0', ARGV[4], 0
if at == '' or epoch ~= ARGV[3] or before(last, at) then
	at, start = '0-0', 1
end
local entries = redis.call('XRANGE', KEYS[2], '(' .. at, '+', 'COUNT', ARGV[6])
local reached = #entries == 0 or entries[#entries][1] == last
local count = tonumber(string.match(redis.call('HGET', KEYS[3], ARGV[2]) or '', ' (%d+)$'))
if reached and not (count and count > tonumber(ARGV[5])) then
	redis.call('HSET', KEYS[3], ARGV[2], epoch .. ' ' .. at .. ' ' .. ARGV[5])
end
local round = ARGV[7] ~= '' and redis.call('HSCAN', KEYS[3], ARGV[7], 'COUNT', 1000) or {}
return {epoch, age(), start, reached and 1 or 0, string.format('%.0f', now), entries, round}
`)

// KEYS: epoch, log, nodes. ARGV: the id of an entry. Reply: epoch, age, then each node that has not applied it in this
// epoch, with its registration.
var lagScript = redis.NewScript(common + begin + before + `
local nodes = redis.call('HGETALL', KEYS[3])
local reply = {epoch, age()}
for i = 1, #nodes, 2 do
	local e, at = string.match(nodes[i + 1], '^(%S+) (%d+%-%d+) %d+$')
	if not e or e ~= epoch or before(at, ARGV[1]) then
		table.insert(reply, nodes[i])
		table.insert(reply, nodes[i + 1])
	end
end
return reply
`)

// KEYS: epoch, log, nodes. ARGV: for each node its name, and its registration as it was seen, or nothing for whatever it is.
var forgetScript = redis.NewScript(common + `
for i = 1, #ARGV, 2 do
	if ARGV[i + 1] == '' or redis.call('HGET', KEYS[3], ARGV[i]) == ARGV[i + 1] then
		redis.call('HDEL', KEYS[3], ARGV[i])
	end
end
return {epoch}
`)

// KEYS: epoch, so that it runs where the list is. min_slaves_good_slaves is there only where min-replicas-to-write is set.
var readyScript = redis.NewScript(common + `
local memory = redis.call('INFO', 'memory')
return {string.match(memory, '\nmaxmemory:(%d+)'), string.match(memory, '\nmaxmemory_policy:([%w-]+)'),
	string.match(info, '\nconnected_slaves:(%d+)') or '0', string.match(info, '\nmin_slaves_good_slaves:(%d+)') or ''}
`)
