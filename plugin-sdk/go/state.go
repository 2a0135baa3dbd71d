package pipehost

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/config"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// What a group's bytes begin with: their format.
const stateFormat = "PG\x01"

var errOtherFormat = errors.New("it was saved in another format")

// State collects what a stage saves: see [Saver]. It is saved as JSON, so what is saved in a struct
// must be exported, and text must be UTF-8: a []byte can be anything.
type State struct {
	count uint32
	whole []byte
	byKey map[uint32][]byte
}

// Put saves the state of the stage. Of a stage that keeps by key: what is the same in all its
// instances, as the last watermark is.
func (s *State) Put(state any) error {
	whole, err := json.Marshal(state)
	s.whole = whole
	return err
}

// PutByKey saves what a stage keeps by key. The keys can hold any bytes.
func PutByKey[V any](state *State, values map[string]V) error {
	state.byKey = map[uint32][]byte{}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	// In order, so that the same state is the same bytes.
	for _, key := range slices.Sorted(maps.Keys(values)) {
		buffer.Reset()
		value := values[key]
		if err := encoder.Encode(&value); err != nil {
			return fmt.Errorf("the value of key %q: %w", key, err)
		}
		group := groupOf(key, state.count)
		entries := appendPart(state.byKey[group], key)
		state.byKey[group] = appendPart(entries, bytes.TrimSuffix(buffer.Bytes(), []byte("\n")))
	}
	return nil
}

// groupOf is the key group of a key, as the contract defines it.
func groupOf(key string, count uint32) uint32 {
	return crc32.ChecksumIEEE(bytesOf(key)) % max(count, 1)
}

// groups are the bytes of each group: the format; the length of the part that all have in common,
// and that part; then each key and its value, with their lengths.
func (s *State) groups(first, end uint32) []driver.GroupState {
	var groups []driver.GroupState
	for group := first; group < end; group++ {
		entries := s.byKey[group]
		if len(s.whole) == 0 && len(entries) == 0 {
			continue
		}
		state := append(appendPart([]byte(stateFormat), s.whole), entries...)
		groups = append(groups, driver.GroupState{Number: group, State: state})
	}
	return groups
}

func appendPart[T []byte | string](to []byte, part T) []byte {
	return append(binary.LittleEndian.AppendUint32(to, uint32(len(part))), part...)
}

func cutPart(from []byte) (part, rest []byte, err error) {
	if len(from) < 4 || uint64(binary.LittleEndian.Uint32(from)) > uint64(len(from)-4) {
		return nil, nil, errOtherFormat
	}
	length := binary.LittleEndian.Uint32(from)
	return from[4 : 4+length], from[4+length:], nil
}

// Saved is a saved state, and who saved it: see [Saver].
type Saved struct {
	version string
	config  []byte
	changed []string
	whole   []byte
	entries [][]byte
}

func newSaved(groups []driver.GroupState, version string, then, now []byte) (*Saved, error) {
	changed, err := config.Changed(then, now)
	if err != nil {
		return nil, err
	}
	saved := &Saved{version: version, config: then, changed: changed}
	for _, group := range groups {
		bytes, ok := bytes.CutPrefix(group.State, []byte(stateFormat))
		if !ok {
			return nil, errOtherFormat
		}
		whole, entries, err := cutPart(bytes)
		if err != nil {
			return nil, err
		}
		saved.whole, saved.entries = whole, append(saved.entries, entries)
	}
	return saved, nil
}

// Version is that of the stage that saved it, as in its [About].
func (s *Saved) Version() string { return s.version }

// Config decodes the configuration that the state was saved with.
func (s *Saved) Config(into any) error { return config.Decode(s.config, into) }

// Changed are the names of the settings that are not what they were when the state was saved.
func (s *Saved) Changed() []string { return s.changed }

// AcceptChangesOf accepts the state if the configuration is the one that it was saved with, apart
// from these settings; otherwise its error names those that differ.
func (s *Saved) AcceptChangesOf(settings ...string) error {
	var others []string
	for _, name := range s.changed {
		if !slices.Contains(settings, name) {
			others = append(others, "`"+name+"`")
		}
	}
	if others == nil {
		return nil
	}
	return fmt.Errorf("it was made with another configuration; what differs: %s", strings.Join(others, ", "))
}

// Get decodes what was [State.Put]. A member that is not known is an error.
func (s *Saved) Get(into any) error {
	if len(s.whole) == 0 {
		return errors.New("nothing was saved")
	}
	return decodeState(s.whole, into)
}

// ByKey returns what was saved with [PutByKey].
func ByKey[V any](saved *Saved) (map[string]V, error) {
	values := map[string]V{}
	for _, entries := range saved.entries {
		for len(entries) > 0 {
			key, rest, err := cutPart(entries)
			if err != nil {
				return nil, err
			}
			text, rest, err := cutPart(rest)
			if err != nil {
				return nil, err
			}
			var value V
			if err := decodeState(text, &value); err != nil {
				return nil, fmt.Errorf("the value of key %q: %w", key, err)
			}
			values[string(key)], entries = value, rest
		}
	}
	return values, nil
}

func decodeState(text []byte, into any) error {
	if err := config.Strict(text, into); err != nil {
		return fmt.Errorf("it was saved in another shape: %w", err)
	}
	return nil
}
