// Conformance does what tests/conformance/README.md says.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	pipehost "github.com/pipehost/pipehost/plugin-sdk/go"
	"github.com/pipehost/pipehost/plugin-sdk/go/timed"
)

type config struct {
	Mode       string `json:"mode,omitempty" enum:"commands,count,count-by-key,inputs"`
	LongNumber int64  `json:"long_number,omitempty"`
	Refuse     string `json:"refuse,omitempty"`
}

type stage struct {
	config
	key, value, verb, arg, extra pipehost.Field
	time                         pipehost.TimeField
	other                        pipehost.Port
	left                         pipehost.Input
	count                        uint64
	counts                       map[string]uint64
}

func init() {
	about := pipehost.About{Name: "conformance", Version: "0.1.0", Summary: "Does what the conformance cases ask for"}
	timed.Export(about, open)
}

func main() {}

func open(config config, setup *pipehost.Setup) (*stage, error) {
	if config.Refuse != "" {
		return nil, errors.New(config.Refuse)
	}
	s := &stage{config: config, counts: map[string]uint64{}}
	switch config.Mode {
	case "count":
	case "count-by-key":
		s.key = setup.Key()
		setup.KeepsByKey(s.key)
	case "inputs":
		setup.KeepsNothing()
		s.left = setup.Input("left")
		setup.Input("right")
	default:
		setup.KeepsNothing()
		s.time = setup.Timestamp()
		s.key, s.value = setup.Key(), setup.Value()
		s.verb, s.arg, s.extra = setup.Attribute("do"), setup.Attribute("arg"), setup.Attribute("extra")
		s.other = setup.Port("other")
	}
	return s, nil
}

func (s *stage) Process(record *pipehost.Record, out *pipehost.Out) error {
	switch s.Mode {
	case "count":
		s.count++
		out.Keep().SetAttributeText("count", strconv.FormatUint(s.count, 10))
	case "count-by-key":
		key := record.Text(s.key)
		s.counts[key]++
		out.Keep().SetAttributeText("count", strconv.FormatUint(s.counts[key], 10))
	case "inputs":
		from := "right"
		if record.IsFrom(s.left) {
			from = "left"
		}
		out.Keep().SetAttributeText("from", from)
	default:
		return s.command(record, out)
	}
	return nil
}

func (s *stage) command(record *pipehost.Record, out *pipehost.Out) error {
	arg := record.Bytes(s.arg)
	switch string(record.Bytes(s.verb)) {
	case "", "keep":
		out.Keep()
	case "drop":
	case "twice":
		out.Keep()
		out.Keep().SetValue(arg)
	case "echo":
		row := out.Keep()
		if value := record.Bytes(s.value); value != nil {
			row.SetValue(value)
		}
		if extra := record.Bytes(s.extra); extra != nil {
			row.SetAttribute("extra", extra)
		}
	case "upper":
		out.Keep().SetValue(bytes.ToUpper(record.Bytes(s.value)))
	case "value":
		out.Keep().SetValue(arg)
	case "key":
		out.Keep().SetKey(arg)
	case "attribute":
		out.Keep().SetAttribute("made", arg)
	case "remove":
		out.Keep().RemoveAttribute("extra")
	case "time":
		nanoseconds, err := strconv.ParseInt(string(arg), 10, 64)
		if err != nil {
			return err
		}
		out.Keep().SetTimestamp(nanoseconds)
	case "later":
		row := out.Keep()
		if nanoseconds, ok := record.Timestamp(s.time); ok {
			row.SetTimestamp(nanoseconds + 1_000_000_000)
		}
	case "tell-time":
		if nanoseconds, ok := record.Timestamp(s.time); ok {
			out.Keep().SetValueText(strconv.FormatInt(nanoseconds, 10))
		} else {
			out.Keep().SetValueText("none")
		}
	case "number":
		out.Keep().SetValueText(strconv.FormatInt(s.LongNumber, 10))
	case "other":
		out.Send(s.other)
	case "both":
		out.Keep()
		out.Send(s.other).SetValue(arg)
	case "create":
		out.Create().SetValue(arg)
	case "create-other":
		out.Keep()
		out.CreateOn(s.other).SetKey(arg).SetAttribute("made", arg).SetTimestamp(1)
	case "reject":
		return errors.New(string(arg))
	case "retry":
		return pipehost.Retryable(errors.New(string(arg)))
	case "keep-throw":
		out.Keep().SetValueText("lost")
		panic(string(arg))
	default:
		panic(string(arg))
	}
	return nil
}

func (s *stage) Finish(out *pipehost.Out) error {
	if s.Mode == "count" {
		out.Create().SetValueText(fmt.Sprintf("%d at the end", s.count))
	}
	return nil
}

func (s *stage) Advance(watermark int64, out *pipehost.Out) error {
	if s.Mode == "count" {
		out.Create().SetValueText(fmt.Sprintf("%d until %d", s.count, watermark))
		s.count = 0
	}
	return nil
}

func (s *stage) Save(state *pipehost.State) error {
	if s.Mode == "count" {
		return state.Put(s.count)
	}
	return pipehost.PutByKey(state, s.counts)
}

func (s *stage) Restore(saved *pipehost.Saved) (err error) {
	if s.Mode == "count" {
		return saved.Get(&s.count)
	}
	s.counts, err = pipehost.ByKey[uint64](saved)
	return err
}
