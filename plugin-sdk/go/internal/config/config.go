// Package config decodes the configuration of a stage, and makes its JSON Schema.
package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Decode decodes a configuration, with the defaults of its tags. A member that is not known is an
// error.
func Decode(text []byte, into any) error {
	if err := setDefaults(reflect.ValueOf(into).Elem()); err != nil {
		return err
	}
	if err := Strict(text, into); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// Strict decodes JSON; a member that is not known is an error, and so is what follows.
func Strict(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("something follows the JSON")
	}
	return nil
}

// Changed are the names of the settings that are not the same in both configurations, in order.
func Changed(then, now []byte) ([]string, error) {
	var a, b map[string]any
	if err := errors.Join(exact(then, &a), exact(now, &b)); err != nil {
		return nil, err
	}
	changed := []string{}
	for name, value := range a {
		if other, ok := b[name]; !ok || !reflect.DeepEqual(value, other) {
			changed = append(changed, name)
		}
	}
	for name := range maps.Keys(b) {
		if _, ok := a[name]; !ok {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed, nil
}

func exact(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func setDefaults(value reflect.Value) error {
	if value.Kind() != reflect.Struct {
		return nil
	}
	for _, field := range fieldsOf(value.Type()) {
		member := value.FieldByIndex(field.index)
		text, ok := field.tag.Lookup("default")
		if !ok {
			if err := setDefaults(member); err != nil {
				return err
			}
			continue
		}
		if err := json.Unmarshal(literal(text, field.typ), member.Addr().Interface()); err != nil {
			return fmt.Errorf("the default of %s: %w", field.name, err)
		}
	}
	return nil
}

// literal is the JSON of a tag: in the tag of a text there are no quotes.
func literal(text string, of reflect.Type) []byte {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	_, isText := reflect.New(of).Interface().(encoding.TextUnmarshaler)
	if of.Kind() == reflect.String || isText {
		quoted, _ := json.Marshal(text) // A text is always JSON.
		return quoted
	}
	return []byte(text)
}

type field struct {
	name     string
	index    []int
	typ      reflect.Type
	tag      reflect.StructTag
	optional bool
}

// fieldsOf are the fields of a struct that are members of its JSON; those of a struct that is
// embedded without a name are its own.
func fieldsOf(of reflect.Type) []field {
	var fields []field
	for _, f := range reflect.VisibleFields(of) {
		tag, hasTag := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || tag == "-" || f.Anonymous && name == "" && isPlainStruct(f.Type) {
			continue
		}
		if len(f.Index) > 1 && !promoted(of, f.Index) {
			continue
		}
		if !hasTag || name == "" {
			name = f.Name
		}
		_, hasDefault := f.Tag.Lookup("default")
		optional := hasDefault || f.Type.Kind() == reflect.Pointer
		for option := range strings.SplitSeq(options, ",") {
			optional = optional || option == "omitempty" || option == "omitzero"
		}
		fields = append(fields, field{name, f.Index, f.Type, f.Tag, optional})
	}
	return fields
}

func isPlainStruct(t reflect.Type) bool { return t.Kind() == reflect.Struct }

// promoted says whether all structs on the way to a field are embedded without a name.
func promoted(of reflect.Type, index []int) bool {
	for i := 1; i < len(index); i++ {
		f := of.FieldByIndex(index[:i])
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" || !isPlainStruct(f.Type) {
			return false
		}
	}
	return true
}

// Schema is the JSON Schema of a configuration.
func Schema(of reflect.Type) string {
	schema := object{{"$schema", "https://json-schema.org/draft/2020-12/schema"}}
	text, err := json.Marshal(append(schema, schemaOf(of, nil)...))
	if err != nil {
		panic("pipehost: the schema of the configuration: " + err.Error())
	}
	return string(text)
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	for i, member := range o {
		if i > 0 {
			text = append(text, ',')
		}
		value, err := json.Marshal(member.value)
		if err != nil {
			return nil, err
		}
		name, _ := json.Marshal(member.name) // A text is always JSON.
		text = append(append(append(text, name...), ':'), value...)
	}
	return append(text, '}'), nil
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// schemaOf says which JSON a type is decoded from. `within` are the structs around it.
func schemaOf(of reflect.Type, within []reflect.Type) object {
	value := reflect.New(of).Interface()
	if own, ok := value.(interface{ JSONSchema() string }); ok {
		return parsed(own.JSONSchema())
	}
	if of == rawMessage {
		return object{}
	}
	if _, ok := value.(json.Unmarshaler); ok {
		return object{} // Anything, as far as is known.
	}
	if _, ok := value.(encoding.TextUnmarshaler); ok {
		return object{{"type", "string"}}
	}
	switch of.Kind() {
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Float32, reflect.Float64:
		return object{{"type", "number"}}
	case reflect.Int, reflect.Int64:
		return object{{"type", "integer"}}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		limit := int64(1) << (of.Bits() - 1)
		return object{{"type", "integer"}, {"minimum", -limit}, {"maximum", limit - 1}}
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return object{{"type", "integer"}, {"minimum", 0}}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return object{{"type", "integer"}, {"minimum", 0}, {"maximum", int64(1)<<of.Bits() - 1}}
	case reflect.Pointer:
		return orNull(schemaOf(of.Elem(), within))
	case reflect.Slice, reflect.Array:
		if of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Uint8 {
			return object{{"type", "string"}, {"contentEncoding", "base64"}}
		}
		list := object{{"type", "array"}, {"items", schemaOf(of.Elem(), within)}}
		if of.Kind() == reflect.Array {
			list = append(list, member{"minItems", of.Len()}, member{"maxItems", of.Len()})
		}
		return list
	case reflect.Map:
		return object{{"type", "object"}, {"additionalProperties", schemaOf(of.Elem(), within)}}
	case reflect.Struct:
		if slices.Contains(within, of) {
			return object{{"type", "object"}} // It holds itself.
		}
		return structSchema(of, append(within, of))
	case reflect.Interface:
		return object{}
	}
	panic("pipehost: a configuration cannot hold a " + of.String())
}

func structSchema(of reflect.Type, within []reflect.Type) object {
	properties, required := object{}, []string{}
	for _, field := range fieldsOf(of) {
		schema := schemaOf(field.typ, within)
		if doc := field.tag.Get("doc"); doc != "" {
			schema = append(object{{"description", doc}}, schema...)
		}
		if text, ok := field.tag.Lookup("default"); ok {
			schema = append(schema, member{"default", json.RawMessage(literal(text, field.typ))})
		}
		if text := field.tag.Get("enum"); text != "" {
			var values []json.RawMessage
			for value := range strings.SplitSeq(text, ",") {
				values = append(values, literal(value, field.typ))
			}
			schema = append(schema, member{"enum", values})
		}
		for _, tag := range []string{"minimum", "maximum"} {
			if text := field.tag.Get(tag); text != "" {
				schema = slices.DeleteFunc(schema, func(m member) bool { return m.name == tag })
				schema = append(schema, member{tag, json.RawMessage(text)})
			}
		}
		properties = append(properties, member{field.name, schema})
		if !field.optional {
			required = append(required, field.name)
		}
	}
	schema := object{{"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		schema = append(schema, member{"required", required})
	}
	return append(schema, member{"additionalProperties", false})
}

func orNull(schema object) object {
	for i, m := range schema {
		if name, ok := m.value.(string); ok && m.name == "type" {
			schema[i].value = []string{name, "null"}
		}
	}
	return schema
}

// parsed are the members of a schema that is given as text.
func parsed(text string) object {
	decoder := json.NewDecoder(strings.NewReader(text))
	var schema object
	if _, err := decoder.Token(); err != nil {
		panic("pipehost: a JSON Schema: " + err.Error())
	}
	for decoder.More() {
		name, err := decoder.Token()
		var value json.RawMessage
		if err == nil {
			err = decoder.Decode(&value)
		}
		if err != nil {
			panic("pipehost: a JSON Schema: " + err.Error())
		}
		schema = append(schema, member{fmt.Sprint(name), value})
	}
	return schema
}
