package options

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Size is a number of bytes: 1024, 64k, 1m, 1g.
type Size int64

// fieldsOf finds a struct's fields by option name: the tag nffi, else json, else the field's name in snake case.
// Fields of embedded structs count as its own.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := make(map[string]reflect.Value)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			for name, field := range fieldsOf(v.Field(i)) {
				fields[name] = field
			}
			continue
		}
		if name := nameOf(f); f.IsExported() && name != "-" {
			fields[name] = v.Field(i)
		}
	}
	return fields
}

func nameOf(f reflect.StructField) string {
	for _, key := range []string{"nffi", "json"} {
		if name, _, _ := strings.Cut(f.Tag.Get(key), ","); name != "" {
			return name
		}
	}
	return snake(f.Name)
}

// snake makes init_sleep of InitSleep, and url of URL.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// set gives a field the value of an option.
func set(v reflect.Value, raw json.RawMessage) error {
	if v.Kind() == reflect.Pointer && !v.Type().Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		made := reflect.New(v.Type().Elem())
		if err := set(made.Elem(), raw); err != nil {
			return err
		}
		v.Set(made)
		return nil
	}
	if text, ok := asText(raw); ok {
		return setText(v, text)
	}
	switch string(raw) {
	case "true", "false":
		if v.Kind() == reflect.Bool {
			v.SetBool(string(raw) == "true")
			return nil
		}
		if v.Kind() != reflect.Interface {
			return fmt.Errorf("a value is missing: %s expected", wanted(v))
		}
	}
	if isList(v) && raw[0] == '[' {
		return setList(v, raw)
	}
	return setJSON(v, raw)
}

// asText returns a JSON string or number as text.
func asText(raw json.RawMessage) (string, bool) {
	if raw[0] == '"' {
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err == nil
	}
	if raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' {
		return string(raw), true
	}
	return "", false
}

func isList(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type() != reflect.TypeFor[json.RawMessage]() &&
		v.Type() != reflect.TypeFor[[]byte]()
}

func setList(v reflect.Value, raw json.RawMessage) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return err
	}
	made := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := set(made.Index(i), item); err != nil {
			return fmt.Errorf("value %d: %w", i+1, err)
		}
	}
	v.Set(made)
	return nil
}

// setJSON is for what only config '{...}' can hold: nested objects.
func setJSON(v reflect.Value, raw json.RawMessage) error {
	switch {
	case raw[0] == '[' && !isList(v) && v.Kind() != reflect.Interface && v.Kind() != reflect.Array:
		return fmt.Errorf("one value expected (%s), got several: %.60s", wanted(v), raw)
	case v.Kind() == reflect.Struct:
		nested, err := Parse(raw)
		if err != nil || nested.IsText {
			return fmt.Errorf("%s expected, got %.60s", wanted(v), raw)
		}
		return nested.Decode(v.Addr().Interface(), nil)
	}
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		return fmt.Errorf("%s expected, got %.60s", wanted(v), raw)
	}
	return nil
}

func setText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	bad := func() error { return fmt.Errorf("%s expected, got %q", wanted(v), text) }
	switch v.Type() {
	case reflect.TypeFor[time.Duration]():
		d, ok := ParseDuration(text)
		if !ok {
			return bad()
		}
		v.SetInt(int64(d))
		return nil
	case reflect.TypeFor[Size]():
		n, ok := ParseSize(text)
		if !ok {
			return bad()
		}
		v.SetInt(n)
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "on" && text != "off" {
			return bad()
		}
		v.SetBool(text == "on")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return bad()
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return bad()
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return bad()
		}
		v.SetFloat(n)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			return bad()
		}
		v.Set(reflect.ValueOf(text))
	case reflect.Slice:
		return setOne(v, text)
	default:
		return bad()
	}
	return nil
}

// setOne: an option that may be repeated and was not.
func setOne(v reflect.Value, text string) error {
	if v.Type() == reflect.TypeFor[[]byte]() {
		v.SetBytes([]byte(text))
		return nil
	}
	made := reflect.MakeSlice(v.Type(), 1, 1)
	if err := setText(made.Index(0), text); err != nil {
		return err
	}
	v.Set(made)
	return nil
}

// wanted names what a field takes.
func wanted(v reflect.Value) string {
	switch v.Type() {
	case reflect.TypeFor[time.Duration]():
		return "a time (500ms, 5s, 1m; without a unit: seconds)"
	case reflect.TypeFor[Size]():
		return "a size (1024, 64k, 1m)"
	}
	switch v.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "on or off"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return "a whole number from 0"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a " + v.Type().String()
}
