"""What Redis does in one step, in Lua."""

from __future__ import annotations

from typing import Final

__all__ = ["APPEND", "POLL", "RENEW"]

APPEND: Final = """
-- Add records to a log, if the lease is the owner's and the log ends where he thinks. Nothing is
-- ever taken out of a log, so its length is the number of its last event. Gives 1, or 0.
-- KEYS: run, log, inbox, and the five lists by status, of which the first is the new one's
-- ARGV: owner, after, run id, taken or '', summary or '', status, started, updated, ttl, over,
--       then of each record its event and what is kept or ''
local after, count = tonumber(ARGV[2]), (#ARGV - 10) / 2
local length = redis.call('XLEN', KEYS[2])
local row = redis.call('HMGET', KEYS[1], 'owner', 'ended_by')
if length == after + count and (row[1] == ARGV[1] or row[2] == ARGV[1]) then
    return 1  -- stored before, and the answer was lost
end
if row[1] ~= ARGV[1] or length ~= after then
    return 0
end
for i = 1, count do
    local event, kept = ARGV[9 + 2 * i], ARGV[10 + 2 * i]
    if kept == '' then
        redis.call('XADD', KEYS[2], '0-' .. string.format('%d', after + i), 'event', event)
    else
        redis.call(
            'XADD', KEYS[2], '0-' .. string.format('%d', after + i), 'event', event, 'kept', kept)
    end
end
if ARGV[4] ~= '' then
    redis.call('HDEL', KEYS[3], ARGV[4])
end
if ARGV[5] ~= '' then
    redis.call(
        'HSET', KEYS[1], 'summary', ARGV[5], 'status', ARGV[6], 'updated', ARGV[8])
    for i = 5, 8 do
        redis.call('ZREM', KEYS[i], ARGV[3])
    end
    redis.call('ZADD', KEYS[4], ARGV[7], ARGV[3])
end
if ARGV[10] == '1' then
    redis.call('HSET', KEYS[1], 'owner', '', 'ended_by', ARGV[1])
    redis.call('DEL', KEYS[3])
    if ARGV[9] ~= '' then
        redis.call('EXPIRE', KEYS[1], ARGV[9])
        redis.call('EXPIRE', KEYS[2], ARGV[9])
    end
end
return 1
"""

RENEW: Final = """
-- Have leases run so many seconds from now.
-- KEYS: runs; ARGV: seconds, and the owner of each
local time = redis.call('TIME')
local till = string.format('%.6f', time[1] + time[2] / 1e6 + ARGV[1])
for i, run in ipairs(KEYS) do
    if redis.call('HGET', run, 'owner') == ARGV[1 + i] then
        redis.call('HSET', run, 'until', till)
    end
end
"""

POLL: Final = """
-- What has become of leases and logs: of each lease what is in its inbox, of each log its length;
-- nothing of what is lost.
-- KEYS: run and inbox of each lease, then run and log of each run; ARGV: the owners
local found = {}
for i, owner in ipairs(ARGV) do
    if redis.call('HGET', KEYS[2 * i - 1], 'owner') == owner then
        found[i] = redis.call('HVALS', KEYS[2 * i])
    else
        found[i] = false
    end
end
for i = #ARGV + 1, #KEYS / 2 do
    found[i] = redis.call('EXISTS', KEYS[2 * i - 1]) == 1 and redis.call('XLEN', KEYS[2 * i])
end
return found
"""
