// Package options turns a runtime's configuration into a Go struct.
//
// The host hands over the options of the nffi_runtime block as one JSON object in which every value is a string, an
// option without a value is true, and a repeated one is an array. A field takes what it can from that: numbers,
// durations and sizes as nginx writes them, switches as on and off, lists from repetition.
package options

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Object is a configuration: named options, or, where it is no JSON object, just text.
type Object struct {
	Names  []string
	Values map[string]json.RawMessage
	Text   string
	IsText bool
}

// Parse reads a configuration. Nothing at all is an object without options.
func Parse(cfg []byte) (Object, error) {
	o := Object{Values: map[string]json.RawMessage{}}
	trimmed := bytes.TrimSpace(cfg)
	if len(trimmed) == 0 {
		return o, nil
	}
	if trimmed[0] != '{' {
		o.Text, o.IsText = string(cfg), true
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(trimmed))
	if _, err := d.Token(); err != nil {
		return o, badJSON(err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return o, badJSON(err)
		}
		name, _ := key.(string) // a key is a string, or Token has failed
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return o, badJSON(err)
		}
		if _, twice := o.Values[name]; twice {
			return o, fmt.Errorf("option %q occurs twice", name)
		}
		o.Names = append(o.Names, name)
		o.Values[name] = value
	}
	if _, err := d.Token(); err != nil {
		return o, badJSON(err)
	}
	if d.More() {
		return o, errors.New("the configuration is not JSON: there is more behind its closing brace")
	}
	return o, nil
}

func badJSON(err error) error { return fmt.Errorf("the configuration is not JSON: %w", err) }

// Take decodes the options that target, a pointer to a struct, has fields for, and returns the others.
func (o Object) Take(target any) (Object, error) {
	known := fieldsOf(reflect.ValueOf(target).Elem())
	rest := Object{Values: map[string]json.RawMessage{}, Text: o.Text, IsText: o.IsText}
	for _, name := range o.Names {
		field, ok := known[name]
		if !ok {
			rest.Names = append(rest.Names, name)
			rest.Values[name] = o.Values[name]
			continue
		}
		if err := set(field, o.Values[name]); err != nil {
			return rest, fmt.Errorf("option %q: %w", name, err)
		}
	}
	return rest, nil
}

// Without returns the configuration without the options that leave names.
func (o Object) Without(leave func(name string) bool) Object {
	rest := Object{Values: o.Values, Text: o.Text, IsText: o.IsText}
	for _, name := range o.Names {
		if !leave(name) {
			rest.Names = append(rest.Names, name)
		}
	}
	return rest
}

// Decode fills target, which may be a pointer to a struct, a map, a string or a []byte. alsoKnown are names that an
// error message mentions beside target's own.
func (o Object) Decode(target any, alsoKnown []string) error {
	v := reflect.ValueOf(target).Elem()
	switch {
	case o.IsText:
		return decodeText(v, o.Text)
	case v.Kind() == reflect.Struct:
		rest, err := o.Take(target)
		if err != nil {
			return err
		}
		return rest.refuse(append(Names(target), alsoKnown...))
	case v.Kind() == reflect.String || v.Type() == reflect.TypeFor[[]byte]():
		if len(o.Names) == 0 {
			return nil
		}
		return fmt.Errorf("this runtime takes its configuration as text (config '...'), not as options: %s", list(o.Names))
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		return decodeMap(v, o)
	default:
		return fmt.Errorf("a configuration cannot become a %s: use a struct, a map with string keys, a string or []byte", v.Type())
	}
}

func decodeText(v reflect.Value, text string) error {
	switch {
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Type() == reflect.TypeFor[[]byte]():
		v.SetBytes([]byte(text))
	default:
		return fmt.Errorf("this runtime takes options, not text: the configuration must be a JSON object, got %.40q", text)
	}
	return nil
}

func decodeMap(v reflect.Value, o Object) error {
	made := reflect.MakeMap(v.Type())
	for _, name := range o.Names {
		value := reflect.New(v.Type().Elem()).Elem()
		if err := set(value, o.Values[name]); err != nil {
			return fmt.Errorf("option %q: %w", name, err)
		}
		made.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), value)
	}
	v.Set(made)
	return nil
}

// refuse fails where options are left.
func (o Object) refuse(known []string) error {
	if len(o.Names) == 0 {
		return nil
	}
	slices.Sort(known)
	return fmt.Errorf("unknown option %q; known are %s", o.Names[0], list(slices.Compact(known)))
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Names lists the options that target, a pointer to a struct, has fields for.
func Names(target any) []string {
	var names []string
	for name := range fieldsOf(reflect.ValueOf(target).Elem()) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
