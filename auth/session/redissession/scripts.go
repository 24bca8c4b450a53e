package redissession

import "github.com/doorward/doorward/revocation/redisrev"

// The format, for every release that shares it. A change ships readers before writers, or a new prefix.
//
//	{dw}:S:sid    hash        a session: see names; it lives until idle_until. One that is replaced may have heir too:
//	                          the id that replaced it, for its ending alone. One that was ended, or ended by an old token,
//	                          stands for a minute more, with an until of 0, so that the call, sent again, finds what it did
//	{dw}:I:owner  sorted set  ids of the owner's sessions that are not replaced, by until; it lives until the last
//	{dw}:P:hash   sorted set  id, issuer and subject of the sessions that came from a session, or a subject, of an identity
//	                          provider, by until; it lives until the last. What it names may be over
//	{dw}:V:owner  hash        version, ended_below, except; it lives for ever
//
// Keys of the list: see redisrev. Each script finds its keys from KEYS[4], its arguments from ARGV[3], and
// looks at everything that could fail before it writes. What an owner's index names is declared by the
// caller; a script that meets another id replies "more" with all it needs, and has changed nothing.

// rows is what the scripts about sessions begin with. A field that is no text of its kind is an error: nothing is
// guessed about a session.
const rows = `
local names = {'owner', 'version', 'generation', 'from', 'grace', 'late', 'replaced', 'idle', 'created', 'used', 'idle_until',
	'until', 'epoch', 'by', 'did', 'binding', 'key', 'addr', 'agent', 'device', 'methods', 'auth_time', 'client_id',
	'terms', 'audience', 'provider', 'remember', 'place', 'network', 'former'}
local digits = {version = 19, generation = 16, from = 16, replaced = 1, remember = 1, idle = 15, created = 15, used = 15, idle_until = 15,
	['until'] = 15}

-- integer demands one spelling, since less compares texts.
local function integer(v)
	return v == '0' or string.find(v, '^[1-9]%d*$')
end

local function load(k)
	local flat = redis.call('HGETALL', k)
	if #flat == 0 then
		return nil
	end
	local row = {}
	for i = 1, #flat, 2 do
		row[flat[i]] = flat[i + 1]
	end
	for _, name in ipairs(names) do
		local v, most = row[name], digits[name]
		if not v or most and (#v > most or not integer(v)) or (name == 'grace' or name == 'late') and (#v > 15 or not string.find(v, '^%d*$')) then
			error(redis.error_reply('DWFORMAT ' .. k .. ' has no readable ' .. name))
		end
	end
	return row
end

local function dump(row)
	local values = {}
	for i, name in ipairs(names) do
		values[i] = row[name]
	end
	return values
end

local function save(k, row)
	local flat = {}
	for i, name in ipairs(names) do
		flat[2 * i - 1], flat[2 * i] = name, row[name]
	end
	redis.call('HSET', k, unpack(flat))
	redis.call('PEXPIREAT', k, row.idle_until)
end

local function ms(t)
	return string.format('%.0f', t)
end

-- bury leaves of an ended session what this call has done. It is over, whatever clocks say, for everybody else.
local function bury(k, row, call, did)
	row.by, row.did, row['until'], row.idle_until = call, did, '0', ms(now + 60000)
	save(k, row)
end

local function buried(row)
	return row['until'] == '0'
end

local function over(row)
	return now >= tonumber(row.idle_until) or now >= tonumber(row['until'])
end

-- told names the keys of the sessions whose ids stand from ARGV[a]: a pair for each from KEYS[k].
local function told(k, a)
	local S, s = {}, {}
	for i = a, #ARGV do
		S[ARGV[i]], s[ARGV[i]] = KEYS[k + 2 * (i - a)], KEYS[k + 1 + 2 * (i - a)]
	end
	return S, s
end

-- known says whether all ids have keys.
local function known(ids, S)
	for _, id in ipairs(ids) do
		if not S[id] then
			return false
		end
	end
	return true
end

-- sort takes the ids apart: live rows of the owner, and ids to be forgotten.
local function sort(ids, S, owner)
	local live, dead, row = {}, {}, {}
	for _, id in ipairs(ids) do
		row[id] = load(S[id])
		if row[id] and row[id].owner == owner and row[id].replaced == '0' and not over(row[id]) then
			table.insert(live, id)
		else
			table.insert(dead, id)
		end
	end
	return live, dead, row
end

local index = KEYS[4]
local owner = string.sub(index, -22)

-- typed fails where the index is something else: before the first write, not between two.
local function typed()
	redis.call('ZRANGE', index, 0, 0)
end
`

// KEYS: index, the new row, two indexes of a provider or the index again, then pairs. ARGV: call, epoch known, most, grace,
// absolute, id, id to replace or nothing, member of the provider's indexes, a row, then ids. Rows are looked at only when
// there might be too many.
var createScript = redisrev.NewScript(rows + `
begin()
if epoch ~= ARGV[4] then
	return reply('other epoch')
end
local most, id, replaces = tonumber(ARGV[5]), ARGV[8], ARGV[9]
local S, s = told(8, 11 + #names)
local there = load(KEYS[5])
if there and there.owner == owner and there.by == ARGV[3] and there.did == 'created' then
	top()
	return reply('created', dump(there), {}, '0')
elseif there then
	return reply('taken')
end
local old
if replaces ~= '' then
	old = load(S[replaces])
	if not old or old.owner ~= owner or over(old) then
		return reply('gone')
	elseif old.replaced ~= '0' then
		return reply('replaced')
	end
end
local others, dead, ended = {}, {}, {}
for _, other in ipairs(redis.call('ZRANGE', index, '(' .. ms(now), '+inf', 'BYSCORE')) do
	if other ~= replaces then
		table.insert(others, other)
	end
end
if #others >= most then
	if not known(others, S) then
		return reply('more', others)
	end
	local live
	local row
	live, dead, row = sort(others, S, owner)
	table.sort(live, function(a, b) -- the index has them by until
		local x, y = tonumber(row[a].created), tonumber(row[b].created)
		return x < y or x == y and a < b
	end)
	for i = 1, #live - most + 1 do
		ended[i] = live[i]
	end
end
for _, other in ipairs(redis.call('ZRANGE', index, '-inf', ms(now), 'BYSCORE')) do
	table.insert(dead, other)
end
for i = 6, 7 do
	redis.call('ZRANGE', KEYS[i], 0, 0) -- fails before anything is written
end
if old then
	replace(s[replaces])
end
for _, other in ipairs(ended) do
	publish(s[other])
end
if old then
	old.replaced, old.idle_until = '1', ms(now + ARGV[6])
	old['until'] = old.idle_until
	redis.call('HSET', S[replaces], 'heir', id) -- before save, whose end may have come: nothing is written to a row that is gone
	save(S[replaces], old)
	redis.call('ZREM', index, replaces)
end
for _, other in ipairs(ended) do
	redis.call('DEL', S[other])
	redis.call('ZREM', index, other)
end
for _, other in ipairs(dead) do
	redis.call('ZREM', index, other)
end
local row = {}
for i, name in ipairs(names) do
	row[name] = ARGV[10 + i]
end
row.owner, row.epoch, row.by, row.did = owner, epoch, ARGV[3], 'created'
row.generation, row.from, row.replaced = '1', '1', '0'
row.created, row.used, row['until'] = ms(now), ms(now), ms(now + ARGV[7])
row.idle_until = ms(now + math.min(row.idle, ARGV[7]))
save(KEYS[5], row)
redis.call('ZADD', index, row['until'], id)
redis.call('PEXPIREAT', index, redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2])
local provided = 0
for i = 6, 7 do
	if KEYS[i] ~= index then
		redis.call('ZADD', KEYS[i], row['until'], ARGV[10])
		local all = redis.call('ZRANGE', KEYS[i], 0, -1, 'WITHSCORES')
		redis.call('PEXPIREAT', KEYS[i], all[#all])
		provided = math.max(provided, #all / 2)
	end
end
return reply('created', dump(row), ended, ms(provided))
`)

// KEYS: index, row, mark. ARGV: call, epoch known, id, generation shown, ended below, except, grace, binding,
// lenient, lend, strict, key, addr, agent, device, place, network, terms, strict about clients, narrow. The table is that of session.Rotation.Judge, line by line.
var rotateScript = redisrev.NewScript(rows + `
begin()
if epoch ~= ARGV[4] then
	return reply('other epoch')
end
local row = load(KEYS[5])
if not row or row.owner ~= owner or buried(row) and row.by ~= ARGV[3] then
	top()
	return reply('gone')
end
if row.by == ARGV[3] then
	if buried(row) then
		publish(KEYS[6]) -- this sending has to wait for every node as well
	end
	local addr, agent = string.match(row.former, '^(%S*) (.*)$') -- of another client, before what this call did
	return reply(row.did, dump(row), {addr or row.addr, agent or row.agent})
end
local former = {row.addr, row.agent}
local moved = row.agent ~= ARGV[16] or row.network ~= ARGV[19]
local p, c = tonumber(ARGV[6]), tonumber(row.generation)
local lenient, lend, strict = ARGV[11] == '1', ARGV[12] == '1', ARGV[13] == '1'
local function judge()
	if over(row) then
		return 'gone'
	elseif row.replaced ~= '0' then
		return 'replaced'
	elseif less(row.version, ARGV[7]) and not (ARGV[8] ~= '' and ARGV[5] == ARGV[8]) then
		return 'gone'
	elseif strict and row.epoch ~= epoch then
		return 'gone'
	elseif row.binding ~= '' and row.binding ~= ARGV[10] then
		return 'unbound'
	elseif ARGV[21] == '1' and (row.agent ~= ARGV[16] or row.network ~= ARGV[19] and row.network ~= '' and ARGV[19] ~= '') then
		return 'moved'
	elseif row.terms ~= ARGV[20] then
		return 'other terms'
	elseif p == c and lenient and now < (tonumber(row.grace) or 0) then
		return 'kept'
	elseif p == c then
		return 'rotated'
	elseif p > c then
		return 'rolled back'
	elseif p >= tonumber(row.from) and now < (tonumber(row.grace) or 0) then
		return 'replayed'
	elseif p == c - 1 and row.epoch ~= epoch and now - row.used <= 600000 then
		return 'replayed'
	elseif p == c - 1 and lenient and (row.late == '' or now < tonumber(row.late)) then
		return 'late'
	end
	return 'reused'
end
local outcome = judge()
if lend then
	local lent = {rotated = 'lent', ['rolled back'] = 'lent', replayed = 'lent', kept = 'lent', reused = 'late', moved = 'late'}
	return reply(lent[outcome] or outcome, dump(row), former)
end
local good = {rotated = true, ['rolled back'] = true, replayed = true, kept = true}
if ARGV[22] == '1' and good[outcome] then
	return reply('lent', dump(row), former)
end
if outcome == 'rotated' or outcome == 'rolled back' then
	row.from, row.generation = row.generation, ms(p + 1)
	row.epoch, row.late, row.grace = epoch, '', ms(now + ARGV[9])
	row.used, row.idle_until = ms(now), ms(math.min(now + row.idle, row['until']))
	row.former = moved and row.addr .. ' ' .. row.agent or ''
	row.key, row.addr, row.agent, row.device, row.place, row.network = ARGV[14], ARGV[15], ARGV[16], ARGV[17], ARGV[18], ARGV[19]
elseif outcome == 'late' and row.late == '' then
	row.late = ms(now + 60000)
elseif outcome == 'gone' or outcome == 'reused' or outcome == 'moved' then
	typed()
	publish(KEYS[6])
	local was = dump(row)
	if outcome ~= 'gone' then -- somebody has to be told, so the word must not be lost on the way
		bury(KEYS[5], row, ARGV[3], outcome)
	else
		redis.call('DEL', KEYS[5])
	end
	redis.call('ZREM', index, ARGV[5])
	return reply(outcome, was, former)
else
	return reply(outcome, dump(row), former)
end
row.by, row.did = ARGV[3], outcome
save(KEYS[5], row)
return reply(outcome, dump(row), former)
`)

// KEYS: index, then pairs. ARGV: call, then ids.
var endScript = redisrev.NewScript(rows + `
local S, s = told(5, 4)
local ended, drop, more, rest, providers = {}, {}, {}, {}, {}
for i = 4, #ARGV do
	local id = ARGV[i]
	local row = load(S[id])
	table.insert(more, id)
	if not row or row.owner == owner then
		table.insert(drop, id) -- on the list in any case: this call has to wait for every node, whoever ended it before
		if row and buried(row) and row.by == ARGV[3] then
			table.insert(ended, id)
		end
		if row and row.replaced ~= '0' and not over(row) and row.heir and not S[row.heir] then
			table.insert(more, row.heir)
		end
		if row and row.replaced == '0' and not over(row) then
			table.insert(ended, id)
		end
		if row and row.provider ~= '' then
			table.insert(providers, id)
			table.insert(providers, row.provider)
		end
		rest[id] = row
	end
end
if #more > #ARGV - 3 then
	return reply('more', more)
end
typed()
for _, id in ipairs(drop) do
	publish(s[id])
end
for _, id in ipairs(drop) do
	local row = rest[id]
	if row and row.replaced == '0' and not over(row) then
		bury(S[id], row, ARGV[3], 'ended')
	elseif row and not buried(row) then
		redis.call('DEL', S[id])
	end
	redis.call('ZREM', index, id)
end
begin()
return reply('ended', ended, providers)
`)

// KEYS: two indexes of a provider, or the owner's. ARGV: the member that leaves them.
var unlistScript = redisrev.NewScript(`
for i = 4, 5 do
	redis.call('ZREM', KEYS[i], ARGV[3])
end
return reply('unlisted')
`)

// KEYS: index, minimum, then pairs. ARGV: version, except, then ids.
var endBelowScript = redisrev.NewScript(rows + `
local S, s = told(6, 5)
local members = redis.call('ZRANGE', index, 0, -1)
if not known(members, S) then
	return reply('more', members)
end
local live, dead, row = sort(members, S, owner)
local ended, providers = {}, {}
weigh(KEYS[5], ARGV[3])
publish(KEYS[5])
for _, id in ipairs(live) do
	if less(row[id].version, ARGV[3]) and not (ARGV[4] ~= '' and id == ARGV[4]) then
		table.insert(ended, id)
		publish(s[id])
		if row[id].provider ~= '' then
			table.insert(providers, id)
			table.insert(providers, row[id].provider)
		end
	end
end
for _, id in ipairs(ended) do
	redis.call('DEL', S[id])
	redis.call('ZREM', index, id)
end
for _, id in ipairs(dead) do
	redis.call('ZREM', index, id)
end
begin()
return reply('ended', ended, providers)
`)

// KEYS: index, then pairs. ARGV: ids.
var listScript = redisrev.NewScript(rows + `
local S = told(5, 3)
local members = redis.call('ZRANGE', index, 0, -1)
if not known(members, S) then
	return reply('more', members)
end
local live, dead, row = sort(members, S, owner)
for _, id in ipairs(dead) do
	redis.call('ZREM', index, id)
end
local found = {}
for _, id in ipairs(live) do
	table.insert(found, id)
	table.insert(found, dump(row[id]))
end
return reply('listed', found)
`)

// KEYS: an index of a provider, then pairs. ARGV: ids.
var ofScript = redisrev.NewScript(rows + `
local S = told(5, 3)
local members, ids, found = redis.call('ZRANGE', index, 0, -1), {}, {}
for i, member in ipairs(members) do
	ids[i] = string.match(member, '^%S+')
end
if not known(ids, S) then
	return reply('more', ids)
end
for i, member in ipairs(members) do
	local row = load(S[ids[i]])
	if not row or over(row) then
		redis.call('ZREM', index, member)
	elseif row.replaced == '0' then
		table.insert(found, member)
		table.insert(found, dump(row))
	end
end
return reply('listed', found)
`)

// KEYS: numbers. ARGV: what to do, except.
var numbersScript = redisrev.NewScript(`
local n = redis.call('HMGET', KEYS[4], 'version', 'ended_below', 'except')
if n[1] or n[2] or n[3] then
	for i = 1, 2 do
		if not n[i] or #n[i] > 19 or not (n[i] == '0' or string.find(n[i], '^[1-9]%d*$')) then
			error(redis.error_reply('DWFORMAT ' .. KEYS[4] .. ' has no readable numbers'))
		end
	end
else
	n = {'0', '0', ''}
end
if ARGV[3] ~= 'read' then
	redis.call('HINCRBY', KEYS[4], 'version', 1)
	n[1] = redis.call('HGET', KEYS[4], 'version')
	local clock = string.format('%.0f', now)
	if less(n[1], clock) then
		redis.call('HSET', KEYS[4], 'version', clock)
		n[1] = clock
	end
	if ARGV[3] == 'end' then
		n[2], n[3] = n[1], ARGV[4]
	end
	redis.call('HSET', KEYS[4], 'ended_below', n[2], 'except', n[3] or '')
end
return reply('numbers', n[1], n[2], n[3] or '')
`)
