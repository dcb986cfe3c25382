-- The ledger of one quota; does what ledger.py does, and is tested by the same tests.
-- KEYS[1]: the quota. ARGV: what a taker says (JSON), times (JSON), seconds to keep the quota.
-- Reads `clock`: seconds by the server's clock. Moments count from the quota's beginning, since
-- JSON in Lua keeps 14 digits.

local USED_SHARE, CATCH_UP_S, MOST_CREDIT_S = 0.995, 0.01, 0.02
local LEAST_FREE, SAME_S = 1e-6, 1e-6
local SECOND = {period = 1.025, over = 1.04, seconds = 1.0, merge = 0.01}
local MINUTE = {period = 60.05, over = 1.0, seconds = 60.0, merge = 0.5}

local ask, times = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
local stored = redis.call('GET', KEYS[1])
local book = stored and cjson.decode(stored) or {
  epoch = clock, began = clock, asked = 0, takers = {}, holes = {}, second = {}, minute = {},
  next_request = 0, next_token = 0, pause_until = 0, debt = 0, served = 0,
  requests = {version = 0, grows_from = 0, grown_at = 0, proven = true, served = {}},
  tokens = {version = 0, grows_from = 0, grown_at = 0, proven = true, served = {}},
}
if clock - book.epoch < book.asked then  -- the server's clock was set back
  book.epoch = clock - book.asked
end
local now = clock - book.epoch
local began = book.began % 1e6  -- with few enough digits to come back unchanged
began = math.floor(began * 1e6) / 1e6

local function configure(rate, per_s)
  if per_s ~= rate.configured then
    rate.configured, rate.current, rate.ceiling = per_s, per_s, nil
    rate.proven, rate.version = true, rate.version + 1
  end
end

local function succeed(rate, amount, version)
  local recent = {}
  for _, one in ipairs(rate.served) do
    if one[1] > now - 1.0 then recent[#recent + 1] = one end
  end
  recent[#recent + 1] = {now, amount}
  rate.served = recent
  if version ~= rate.version then return end
  rate.proven = true
  local since = math.min(now - rate.grown_at, 1.0)
  rate.grown_at = now
  if not rate.ceiling or not rate.current then return end
  local near = 0.98 * rate.ceiling
  if rate.current < near then
    rate.current = math.min(rate.current * (1 + 0.5 * since), near)
  elseif now >= rate.grows_from then
    local probe = math.min(0.005 * 2 ^ math.min(now - rate.grows_from, 10.0), 0.1)
    rate.current = rate.current * (1 + probe * since)
  end
  if rate.configured and rate.current >= rate.configured then
    rate.current, rate.ceiling = rate.configured, nil
  end
end

local function refuse(rate, version, pause)
  if version ~= rate.version then return false end
  rate.version = rate.version + 1
  local observed = 0
  for _, one in ipairs(rate.served) do
    if one[1] > now - 1.0 then observed = observed + one[2] end
  end
  local refused = rate.current
  if not refused then
    rate.current = math.max(0.85 * observed, 4.0)
  elseif rate.proven then
    rate.current = math.max(math.min(0.98 * observed, 0.85 * refused), 0.5 * refused)
  else
    rate.current = 0.5 * refused
  end
  rate.ceiling = refused or rate.current
  local hold = math.min(math.max(40.0 * pause, 10.0), 300.0)
  rate.grows_from, rate.grown_at, rate.proven = now + pause + hold, now, false
  return true
end

local function earliest(entries, window, at, tokens, per_s)
  local over, first = tokens - per_s * window.over * window.seconds, #entries + 1
  while first > 1 and entries[first - 1][2] > at - window.period do
    first = first - 1
    over = over + entries[first][3]
  end
  while over > 0 and first <= #entries do
    over = over - entries[first][3]
    at = math.max(at, entries[first][2] + window.period)
    first = first + 1
  end
  return at
end

local function add(entries, window, at, tokens)
  local last = entries[#entries]
  if last and at - last[1] <= window.merge then
    last[2], last[3] = math.max(last[2], at), last[3] + tokens
    return
  end
  while entries[1] and entries[1][2] <= at - window.period - window.merge do
    table.remove(entries, 1)
  end
  entries[#entries + 1] = {at, at, tokens}
end

local function correct(at, difference)
  for _, entries in ipairs({book.second, book.minute}) do
    for index = #entries, 1, -1 do
      if entries[index][1] <= at + SAME_S then
        if entries[index][2] >= at - 0.01 then entries[index][3] = entries[index][3] + difference end
        break
      end
    end
  end
end

local function remove(name)
  for _, slot in ipairs(book.takers[name].slots) do book.holes[#book.holes + 1] = slot end
  book.takers[name] = nil
end

local silence = now - book.asked
local gone = {}
for name, taker in pairs(book.takers) do
  if silence > times.silent_s then taker.heard = taker.heard + silence - times.silent_s end
  if now - taker.heard > times.dead_s then gone[#gone + 1] = name end
end
for _, name in ipairs(gone) do remove(name) end
book.asked = now

local taker = book.takers[ask.taker]
if not taker then
  taker = {share = 0, served = book.served, wants = {}, slots = {}, report = 0,
           reserved_until = 0}
  book.takers[ask.taker] = taker
end
taker.heard, taker.requests_per_s, taker.tokens_per_s = now, ask.requests_per_s, ask.tokens_per_s

local num_takers, requests_per_s, tokens_per_s = 0, nil, nil
for _, one in pairs(book.takers) do
  num_takers = num_takers + 1
  if one.requests_per_s then
    requests_per_s = math.min(requests_per_s or one.requests_per_s, one.requests_per_s)
  end
  if one.tokens_per_s then
    tokens_per_s = math.min(tokens_per_s or one.tokens_per_s, one.tokens_per_s)
  end
end
configure(book.requests, requests_per_s)
configure(book.tokens, tokens_per_s)

if ask.epoch == began and ask.report.number > taker.report then
  taker.report = ask.report.number
  for _, slot in ipairs(ask.report.unused) do book.holes[#book.holes + 1] = slot end
  for _, one in ipairs(ask.report.corrections) do
    correct(one[1], one[2])
    local credit = -MOST_CREDIT_S * (book.tokens.current or 0)
    book.debt = math.max(book.debt + one[2], math.min(book.debt, credit))
  end
  for _, one in ipairs(ask.report.served) do succeed(book[one[1]], one[3], one[2]) end
  for _, one in ipairs(ask.report.refused) do
    if refuse(book[one[1]], one[2], one[3]) then
      book.pause_until = math.max(book.pause_until, now + one[3])
    end
  end
end

local function cost(tokens, free)
  local requests, per_token = book.requests.current, book.tokens.current
  return requests and 1 / (requests * free * USED_SHARE) or 0,
    per_token and tokens / (per_token * free * USED_SHARE) or 0
end

local function book_slot(tokens, free)
  local latest = now + times.ahead_s + SAME_S
  for index, hole in ipairs(book.holes) do
    if book.pause_until <= hole[1] + SAME_S and hole[1] <= latest and tokens <= hole[2] then
      table.remove(book.holes, index)
      correct(hole[1], tokens - hole[2])
      return {hole[1], tokens}
    end
  end
  local at = math.max(now, book.next_request, book.next_token, book.pause_until)
  if book.tokens.current then
    at = earliest(book.second, SECOND, at, tokens, free * book.tokens.current)
    at = earliest(book.minute, MINUTE, at, tokens, free * book.tokens.current)
  end
  if at > latest then return nil end
  local due = math.max(tokens + book.debt, 0)
  book.debt = book.debt + tokens - due
  local request_s, token_s = cost(due, free)
  local from = at > now and at or now - CATCH_UP_S
  book.next_request = math.max(book.next_request, from) + request_s
  book.next_token = math.max(book.next_token, from) + token_s
  if book.tokens.current then
    add(book.second, SECOND, at, tokens)
    add(book.minute, MINUTE, at, tokens)
  end
  return {at, tokens}
end

local function allocate()
  local free = 1.0
  for _, one in pairs(book.takers) do
    if one.on_own or now < one.reserved_until or now - one.heard >= times.silent_s then
      free = free - one.share
    end
  end
  if free <= LEAST_FREE then return end
  local holes = {}
  for _, hole in ipairs(book.holes) do
    if hole[1] > now then holes[#holes + 1] = hole else correct(hole[1], -hole[2]) end
  end
  table.sort(holes, function(one, other) return one[1] < other[1] end)
  book.holes = holes
  while true do
    local first, first_name, least = nil, nil, nil
    for name, one in pairs(book.takers) do
      local served = math.floor(one.served * 1e6 + 0.5)
      if #one.wants > 0 and now - one.heard <= times.wants_s and (not first
          or served < least or served == least and name < first_name) then
        first, first_name, least = one, name, served
      end
    end
    if not first then return end
    local slot = book_slot(first.wants[1], free)
    if not slot then return end
    book.served = first.served
    first.served = first.served + math.max(cost(slot[2], free))
    table.remove(first.wants, 1)
    first.slots[#first.slots + 1] = slot
  end
end

local grant = {now = now, epoch = began, slots = {}}
if ask.is_leaving then
  remove(ask.taker)
else
  if ask.share then
    taker.share = math.max(taker.share, ask.share)
    taker.reserved_until = now + times.call_s
  end
  local gathers = now < times.gather_s
  taker.on_own = gathers and ask.share ~= nil
  if #taker.wants == 0 then taker.served = math.max(taker.served, book.served) end
  taker.wants = {}
  for index = #taker.slots + 1, #ask.wants do
    taker.wants[#taker.wants + 1] = ask.wants[index]
  end
  if not gathers then allocate() end
  local promised = 0
  for _, one in pairs(book.takers) do
    if one ~= taker then promised = promised + one.share end
  end
  -- A leaser that began anew does not know what it promised before, and to whom.
  local share = gathers and 0 or math.max(math.min(1 / num_takers, 1 - promised), 0)
  -- One on its own goes on at the share that it said, at least until this answer arrives.
  taker.share = math.max(share, ask.share or 0)
  for _, slot in ipairs(taker.slots) do
    if slot[1] > now - times.late_s then
      grant.slots[#grant.slots + 1] = slot
    else
      correct(slot[1], -slot[2])
    end
  end
  taker.slots = {}
  local next_s = math.max(book.next_request, book.next_token, book.pause_until) - now
  if gathers or share * num_takers < 0.99 then
    grant.again_s = times.ahead_s
  elseif #taker.wants == 0 then
    grant.again_s = times.heartbeat_s
  else
    grant.again_s = math.min(math.max(times.ahead_s / 3, next_s - times.ahead_s), times.wants_s / 2)
  end
  grant.share, grant.takers, grant.stay = share, num_takers, taker.on_own
  grant.requests_per_s, grant.tokens_per_s = book.requests.current, book.tokens.current
  grant.requests_version, grant.tokens_version = book.requests.version, book.tokens.version
  grant.pause_s = math.max(book.pause_until - now, 0)
end
if #grant.slots == 0 then grant.slots = nil end

redis.call('SET', KEYS[1], cjson.encode(book), 'EX', ARGV[3])
return cjson.encode(grant)
