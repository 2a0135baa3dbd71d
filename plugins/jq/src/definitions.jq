# What jaq does not have, or does otherwise than jq. Paths of these definitions exist.

def tojson: _json;
def tostring: if type == "string" then . else tojson end;
def setpath($path; $value):
  if $path == [] then $value
  else _init($path[0]) | .[$path[0]] |= setpath($path[1:]; $value) end;
def delpaths($paths): _delpaths($paths);
def del(f): _delpaths([path(f)]);
def pick(paths): . as $whole | reduce path(paths) as $path (null; setpath($path; $whole | getpath($path)));
def join($between): _join($between);
def fromjson: _fromjson;
def tonumber:
  if type == "number" then .
  elif type == "string" then . as $text
    | (try _fromjson catch null) | if type == "number" then . else error("cannot parse \($text) as number") end
  else error(type + " cannot be a number") end;
def toboolean:
  if type == "boolean" then .
  elif . == "true" then true elif . == "false" then false
  else error(tojson + " cannot be a boolean") end;
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
def _whole: if type == "number" and floor != . then (if . < 0 then ceil else floor end) else . end;
def @text: tostring;
def @json: tojson;
def @html: tostring | escape_html;
def @uri: tostring | encode_uri;
def @sh:
  [if type == "array" then .[] end
    | if type == "string" then "'" + escape_sh + "'"
      elif type == "array" or type == "object" then error(tojson + " cannot be escaped for a shell")
      else tojson end] | join(" ");
def @base64: tostring | encode_base64;
def @base64d: tostring | decode_base64;
def _row(f; $between):
  if type != "array" then error(tojson + " is no array, and so no row") else . end
  | [.[]
    | if . == null then ""
      elif type == "string" then f
      elif type == "array" or type == "object" then error(tojson + " is no cell of a row")
      else tojson end] | join($between);
def @csv: _row("\"" + gsub("\""; "\"\"") + "\""; ",");
def @tsv: _row(gsub("\\\\"; "\\\\") | gsub("\t"; "\\t") | gsub("\n"; "\\n") | gsub("\r"; "\\r"); "\t");
def IN(s): any(s == .; .);
def IN(source; s): any(source == s; .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] |= $row);
def INDEX(f): INDEX(.[]; f);
def toarray: if type == "array" then . else [.] end;
def have_literal_numbers: true;
def leaf_paths: paths(type != "array" and type != "object");
def ascii: [.] | implode;
def date: todate;
def dateadd(unit; $seconds): . + $seconds;
def datesub(unit; $seconds): . - $seconds;
def gamma: lgamma;
