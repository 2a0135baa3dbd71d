# What jaq does not have, or does otherwise than jq. Paths of these definitions exist.

def _init($key):
  if . == null then (if ($key | type) == "number" then [] else {} end) else . end
  | if type == "array" and ($key | type) == "number" and $key >= length
    then . + [range($key - length + 1) | null] else . end;
def setpath($path; $value):
  if $path == [] then $value
  else _init($path[0]) | .[$path[0]] |= setpath($path[1:]; $value) end;
def delpaths($paths): _delpaths($paths);
def del(f): _delpaths([path(f)]);
def pick(paths): . as $whole | reduce path(paths) as $path (null; setpath($path; $whole | getpath($path)));
def join($between):
  reduce .[] as $part (null;
    (if . == null then "" else . + $between end)
    + ($part | if . == null then "" elif type == "string" then . else tojson end)) // "";
def trimstr($text): ltrimstr($text) | rtrimstr($text);
def have_decnum: true;
def tostream:
  path(def all: (.[]? | all), .; all) as $path | getpath($path)
  | reduce path(.[]?) as $part ([$path, .]; [$path + $part]);
def fromstream(events):
  { x: null, e: false } as $init
  | foreach events as $event ($init;
      if .e then $init end
      | if $event | length == 2
        then (.e = ($event[0] | length == 0)) | .x = (.x | setpath($event[0]; $event[1]))
        else .e = ($event[0] | length == 1) end;
      if .e then .x else empty end);
def truncate_stream(events):
  . as $depth | null
  | events | . as $event
  | if (.[0] | length) > $depth then .[0] = .[0][$depth:] else empty end;
def _divisor: if . == 0 then error("cannot divide by zero") else . end;
