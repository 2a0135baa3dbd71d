package config

import (
	"reflect"
	"testing"
	"time"
)

type level string

type inner struct {
	Size uint8 `json:"size" default:"3"`
}

type common struct {
	Shared bool `json:"shared,omitempty"`
}

type settings struct {
	common
	Level  level             `json:"level" doc:"Say \"hi\"." enum:"ERROR,INFO" default:"INFO"`
	Max    *int              `json:"max" minimum:"1"`
	Names  []string          `json:"names,omitempty"`
	Table  map[string]inner  `json:"table,omitempty"`
	Inner  inner             `json:"inner"`
	Since  time.Time         `json:"since,omitzero"`
	Float  float64           `json:"float" default:"0.5"`
	Labels map[string]string `json:"labels" default:"{\"a\":\"b\"}"`
	Hidden int               `json:"-"`
	unseen int
}

func TestSchema(t *testing.T) {
	const want = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{` +
		`"shared":{"type":"boolean"},` +
		`"level":{"description":"Say \"hi\".","type":"string","default":"INFO","enum":["ERROR","INFO"]},` +
		`"max":{"type":["integer","null"],"minimum":1},` +
		`"names":{"type":"array","items":{"type":"string"}},` +
		`"table":{"type":"object","additionalProperties":{"type":"object","properties":{"size":{"type":"integer","minimum":0,"maximum":255,"default":3}},"additionalProperties":false}},` +
		`"inner":{"type":"object","properties":{"size":{"type":"integer","minimum":0,"maximum":255,"default":3}},"additionalProperties":false},` +
		`"since":{},` +
		`"float":{"type":"number","default":0.5},` +
		`"labels":{"type":"object","additionalProperties":{"type":"string"},"default":{"a":"b"}}` +
		`},"required":["inner"],"additionalProperties":false}`
	if got := Schema(reflect.TypeFor[settings]()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const empty = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{},"additionalProperties":false}`
	if got := Schema(reflect.TypeFor[struct{}]()); got != empty {
		t.Error(got)
	}
}

func TestDecode(t *testing.T) {
	var got settings
	if err := Decode([]byte(`{"inner":{},"max":5,"labels":{"c":"d"}}`), &got); err != nil {
		t.Fatal(err)
	}
	max := 5
	want := settings{Level: "INFO", Max: &max, Inner: inner{3}, Float: 0.5, Labels: map[string]string{"a": "b", "c": "d"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for text, want := range map[string]string{
		`{"levle":"x"}`: `unknown field "levle"`,
		`{} {}`:         `something follows the JSON`,
	} {
		if err := Decode([]byte(text), &got); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := Decode([]byte(`{"level":5}`), &got); err == nil {
		t.Error("a number is no text")
	}
}

func TestChanged(t *testing.T) {
	for _, test := range []struct {
		then, now string
		want      []string
	}{
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, []string{}},
		{`{"a":1,"b":2}`, `{"a":2,"c":3}`, []string{"a", "b", "c"}},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, []string{"a"}},
	} {
		got, err := Changed([]byte(test.then), []byte(test.now))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s, %s: %q, %v", test.then, test.now, got, err)
		}
	}
}
