-- The little JSON that the demo writes: so that it needs no further library.

local concat = table.concat
local format = string.format
local gsub = string.gsub
local ipairs = ipairs
local next = next
local pairs = pairs
local sort = table.sort
local tostring = tostring
local type = type

local _M = {}

local SHORT = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(char)
    return SHORT[char] or format("\\u%04x", char:byte())
end

local function quote(text)
    return '"' .. gsub(text, '[%z\1-\31"\\\127]', escape) .. '"'
end

-- Tables with a first element, and empty ones, are arrays. Keys come in alphabetical order.
function _M.encode(value)
    local kind = type(value)
    if kind == "string" then
        return quote(value)
    elseif kind == "number" then
        return format("%.14g", value)
    elseif kind ~= "table" then
        return kind == "boolean" and tostring(value) or "null"
    end

    local parts = {}
    if value[1] ~= nil or next(value) == nil then
        for at = 1, #value do
            parts[at] = _M.encode(value[at])
        end
        return "[" .. concat(parts, ",") .. "]"
    end
    local keys = {}
    for key in pairs(value) do
        keys[#keys + 1] = tostring(key)
    end
    sort(keys)
    for at, key in ipairs(keys) do
        parts[at] = quote(key) .. ":" .. _M.encode(value[key])
    end
    return "{" .. concat(parts, ",") .. "}"
end

return _M
