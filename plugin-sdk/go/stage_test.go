package pipehost_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pipehost "github.com/pipehost/pipehost/plugin-sdk/go"
	"github.com/pipehost/pipehost/plugin-sdk/go/pipehosttest"
)

// A do is a stage that is a function; it reads everything.
type do struct {
	key, value, a pipehost.Field
	time          pipehost.TimeField
	other         pipehost.Port
	process       func(*do, *pipehost.Record, *pipehost.Out) error
}

func (d *do) Process(record *pipehost.Record, out *pipehost.Out) error {
	return d.process(d, record, out)
}

func does(process func(*do, *pipehost.Record, *pipehost.Out) error) func(struct{}, *pipehost.Setup) (*do, error) {
	return func(_ struct{}, s *pipehost.Setup) (*do, error) {
		return &do{s.Key(), s.Value(), s.Attribute("a"), s.Timestamp(), s.Port("other"), process}, nil
	}
}

func value(v string) pipehosttest.Record { return pipehosttest.Value(v) }

func TestWhatIsReadIsWhatWasGiven(t *testing.T) {
	var seen []string
	pipehosttest.Run(t, does(func(d *do, record *pipehost.Record, _ *pipehost.Out) error {
		ns, ok := record.Timestamp(d.time)
		seen = append(seen, fmt.Sprintf("%s %q %q %v %d %v", record.Text(d.key), record.Bytes(d.value), record.Bytes(d.a), record.Has(d.a), ns, ok))
		return nil
	}), nil,
		value("one").Key("k").Timestamp(5),
		pipehosttest.Record{},
		value("").Attribute("a", ""),
		value("t\xffo").Attribute("a", "x").Attribute("b", "y"),
	)
	want := []string{`k "one" "" false 5 true`, ` "" "" false 0 false`, ` "" "" true 0 false`, ` "t\xffo" "x" true 0 false`}
	if !slices.Equal(seen, want) {
		t.Errorf("%q", seen)
	}
}

func TestEverythingCanBeChangedOrInherited(t *testing.T) {
	result := pipehosttest.Run(t, does(func(d *do, record *pipehost.Record, out *pipehost.Out) error {
		switch record.Text(d.value) {
		case "drop":
		case "keep":
			out.Keep()
		case "twice":
			out.Keep().SetAttributeText("n", "1")
			out.Keep().SetAttributeText("n", "2").SetTimestamp(7)
		case "change":
			out.Keep().SetValue([]byte("new")).SetKeyText("new key").SetAttribute("a", nil).SetTimestamp(9)
		case "remove":
			out.Keep().RemoveKey().RemoveValue().RemoveAttribute("a").SetTimestamp(pipehost.NoTime)
		case "func":
			count := func(to []byte) []byte { return strconv.AppendInt(to, 42, 10) }
			out.Keep().SetValueFunc(count).SetKeyFunc(count).SetAttributeFunc("f", count)
		case "send":
			out.Send(d.other).SetValueText("sent")
		case "create":
			out.Create().SetValueText("created").SetTimestamp(1)
			out.CreateOn(d.other).SetKeyText("created")
			out.Create()
		}
		return nil
	}), nil,
		value("drop"), value("keep").Attribute("a", "1"), value("twice").Key("k").Attribute("a", "b"),
		value("change").Key("k").Attribute("a", "1").Attribute("unread", "u"),
		value("remove").Key("k").Attribute("a", "1").Attribute("unread", "u").Timestamp(3),
		value("func"), value("send").Timestamp(2), value("create").Key("not inherited"), value("keep"),
	)
	result.Want("out",
		value("keep").Attribute("a", "1"),
		value("twice").Key("k").Attribute("a", "b").Attribute("n", "1"),
		value("twice").Key("k").Attribute("a", "b").Attribute("n", "2").Timestamp(7),
		value("new").Key("new key").Attribute("a", "").Attribute("unread", "u").Timestamp(9),
		pipehosttest.Record{}.Attribute("unread", "u"),
		value("42").Key("42").Attribute("f", "42"),
		value("keep"),
		value("created").Timestamp(1),
		pipehosttest.Record{},
	)
	result.Want("other", value("sent").Timestamp(2), pipehosttest.Record{}.Key("created"))
}

func TestAnAttributeThatAllRowsLoseIsRemoved(t *testing.T) {
	result := pipehosttest.Run(t, does(func(_ *do, _ *pipehost.Record, out *pipehost.Out) error {
		out.Keep().RemoveAttribute("a").RemoveAttribute("none")
		return nil
	}), nil, value("x").Attribute("a", "1").Attribute("b", "2"))
	result.Want("out", value("x").Attribute("b", "2"))
}

func TestAnErrorOrAPanicRejectsOneRecordAndTakesBackWhatItEmitted(t *testing.T) {
	boom := []int{}
	result := pipehosttest.Run(t, does(func(d *do, record *pipehost.Record, out *pipehost.Out) error {
		text := record.Text(d.value)
		out.Keep().SetValueText("kept "+text).SetAttributeText("only "+text, "1").SetTimestamp(1)
		out.Send(d.other)
		out.Create()
		switch text {
		case "error":
			return errors.New("bad \xff")
		case "retry":
			return fmt.Errorf("again: %w", pipehost.Retryable(errors.New("busy")))
		case "panic":
			panic("boom")
		case "index":
			_ = boom[record.Bytes(d.value)[0]]
		case "undeclared":
			record.Bytes(pipehost.Field{})
		case "nameless":
			out.Keep().SetAttribute("", nil)
		case "order":
			first, second := out.Keep(), out.Keep()
			second.SetKeyText("2")
			first.SetKeyText("1")
		}
		return nil
	}), nil, value("error"), value("a"), value("retry"), value("panic"), value("index"), value("undeclared"),
		value("nameless"), value("order"), value("b"), value("panic"))
	kept := func(v string) pipehosttest.Record {
		return value("kept "+v).Attribute("only "+v, "1").Timestamp(1)
	}
	result.Want("out", kept("a"), kept("b"), pipehosttest.Record{}, pipehosttest.Record{})
	result.Want("other", value("a"), value("b"))
	result.WantRejected(
		pipehosttest.Rejection{Row: 0, Reason: "bad \uFFFD"},
		pipehosttest.Rejection{Row: 2, Reason: "again: busy", Retryable: true},
		pipehosttest.Rejection{Row: 3, Reason: "panic: boom"},
		pipehosttest.Rejection{Row: 4, Reason: "panic: runtime error: index out of range [105] with length 0"},
		pipehosttest.Rejection{Row: 5, Reason: "panic: pipehost: a field is read that was not declared when the stage was opened"},
		pipehosttest.Rejection{Row: 6, Reason: "panic: pipehost: the name of an attribute is empty"},
		pipehosttest.Rejection{Row: 7, Reason: "panic: pipehost: a row is changed after one that was sent later on the same port"},
		pipehosttest.Rejection{Row: 9, Reason: "panic: boom"},
	)
}

func TestBatchesFollowEachOther(t *testing.T) {
	stage := pipehosttest.Open(t, does(func(d *do, record *pipehost.Record, out *pipehost.Out) error {
		word, rest, _ := bytes.Cut(record.Bytes(d.value), []byte(" "))
		row := out.Keep().SetAttribute("word", word)
		if len(rest) > 0 {
			row.SetValue(rest)
		}
		return nil
	}), nil)
	for i := range 3 {
		n := strconv.Itoa(i)
		stage.Process(value("one two"+n), value("three")).Want("out",
			value("two"+n).Attribute("word", "one"), value("three").Attribute("word", "three"))
	}
}

type both struct{ left, right pipehost.Input }

func (b *both) Process(record *pipehost.Record, out *pipehost.Out) error {
	if record.IsFrom(b.right) {
		out.Keep().SetAttributeText("from", "right")
	}
	return nil
}

func TestInputsAreToldApart(t *testing.T) {
	stage := pipehosttest.Open(t, func(_ struct{}, s *pipehost.Setup) (*both, error) {
		return &both{s.Input("left"), s.Input("right")}, nil
	}, nil)
	stage.ProcessFrom("left", value("x")).Want("out")
	stage.ProcessFrom("right", value("x")).Want("out", value("x").Attribute("from", "right"))
}

type CountConfig struct {
	Window pipehost.Period `json:"window" default:"1m"`
	Max    int             `json:"max,omitempty"`
}

// A count counts the records of each key; it closes windows.
type count struct {
	config CountConfig
	key    pipehost.Field
	end    int64
	counts map[string]int
}

func openCount(config CountConfig, s *pipehost.Setup) (*count, error) {
	if config.Max < 0 {
		return nil, errors.New("`max` is less than nothing")
	}
	c := &count{config: config, key: s.Key(), end: int64(config.Window), counts: map[string]int{}}
	s.KeepsByKey(c.key)
	return c, nil
}

func (c *count) Process(record *pipehost.Record, out *pipehost.Out) error {
	c.counts[record.Text(c.key)]++
	return nil
}

func (c *count) emit(out *pipehost.Out) {
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range c.counts {
			if !yield(key) {
				return
			}
		}
	}) {
		out.Create().SetKeyText(key).SetValueText(strconv.Itoa(c.counts[key]))
	}
	clear(c.counts)
}

func (c *count) Finish(out *pipehost.Out) error {
	c.emit(out)
	return nil
}

func (c *count) Advance(watermark int64, out *pipehost.Out) error {
	if watermark >= c.end {
		c.emit(out)
		c.end += int64(c.config.Window)
	}
	return nil
}

func (c *count) Save(state *pipehost.State) error {
	return errors.Join(state.Put(c.end), pipehost.PutByKey(state, c.counts))
}

func (c *count) Restore(saved *pipehost.Saved) (err error) {
	if err := saved.Get(&c.end); err != nil {
		return err
	}
	c.counts, err = pipehost.ByKey[int](saved)
	return err
}

func (c *count) Accepts(saved *pipehost.Saved) error { return saved.AcceptChangesOf("max") }

func TestStateOutlivesAnInstance(t *testing.T) {
	key := func(k string) pipehosttest.Record { return pipehosttest.Record{}.Key(k) }
	stage := pipehosttest.Open(t, openCount, CountConfig{Window: pipehost.Period(time.Minute)})
	stage.Process(key("a"), key("\xff\x00"), key("a"), pipehosttest.Record{}, key("b"))
	stage.Advance(59).Want("out")
	stage = stage.Restarted(json.RawMessage(`{"window":"1m0s","max":5}`))
	stage.Process(key("a"))
	stage.Advance(time.Minute.Nanoseconds()).Want("out",
		key("").Value("1"), key("a").Value("3"), key("b").Value("1"), key("\xff\x00").Value("1"))
	_, err := stage.TryRestart(json.RawMessage(`{"window":"1h"}`))
	if err == nil || err.Error() != "it was made with another configuration; what differs: `window`" {
		t.Error(err)
	}
	stage.Process(key("z"))
	stage.Restarted(json.RawMessage(`{"window":"1m0s"}`)).Finish().Want("out", key("z").Value("1"))
}

func TestAnErrorOfOpenIsForTheOperator(t *testing.T) {
	for config, want := range map[string]string{
		`{"max":-1}`:      "`max` is less than nothing",
		`{"mix":1}`:       `unknown field "mix"`,
		`{"window":"5"}`:  `"5" is not a duration`,
		`{"window":5}`:    `5 is not a duration: it is text with a unit`,
		`{"window":null}`: `null is not a duration`,
	} {
		_, err := pipehosttest.TryOpen(t, openCount, json.RawMessage(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", config, err, want)
		}
	}
}

func TestPeriods(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1m 30s": 90 * time.Second, "1h30m": 90 * time.Minute, "2 days": 48 * time.Hour,
		"1w": 168 * time.Hour, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "5 min": 5 * time.Minute,
	} {
		var period pipehost.Period
		if err := period.UnmarshalText([]byte(text)); err != nil || time.Duration(period) != want {
			t.Errorf("%s: %v, %v", text, period, err)
		}
	}
	for _, text := range []string{"", " ", "5", "s", "-5s", "5x", "5s x", "400000d", "1000000w"} {
		var period pipehost.Period
		if err := period.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, period)
		}
	}
}
