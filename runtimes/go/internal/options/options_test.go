package options

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

type nested struct {
	Host string
	Port uint16
}

type config struct {
	Greeting  string
	InitSleep int
	Ratio     float64
	Small     int8
	Debug     bool
	Timeout   time.Duration
	Limit     Size
	Routes    []string   `nffi:"route"`
	Headers   [][]string `json:"header,omitempty"`
	Maybe     *int
	Address   netip.Addr
	Backend   nested
	Any       any
	hidden    int
	Skipped   int `nffi:"-"`
}

func decode(t *testing.T, text string) (config, error) {
	t.Helper()
	o, err := Parse([]byte(text))
	if err != nil {
		return config{}, err
	}
	var c config
	err = o.Decode(&c, []string{"goroutines"})
	return c, err
}

func TestValues(t *testing.T) {
	seven := 7
	for text, want := range map[string]config{
		"":                                       {},
		"  {}  ":                                 {},
		`{"greeting":"hey"}`:                     {Greeting: "hey"},
		`{"init_sleep":"-5","ratio":"0.5"}`:      {InitSleep: -5, Ratio: 0.5},
		`{"init_sleep":12,"ratio":1e3}`:          {InitSleep: 12, Ratio: 1000},
		`{"debug":true}`:                         {Debug: true},
		`{"debug":"on"}`:                         {Debug: true},
		`{"debug":"off"}`:                        {},
		`{"debug":false}`:                        {},
		`{"timeout":"1m 30s","limit":"64k"}`:     {Timeout: 90 * time.Second, Limit: 64 << 10},
		`{"timeout":5,"limit":17}`:               {Timeout: 5 * time.Second, Limit: 17},
		`{"route":"/a"}`:                         {Routes: []string{"/a"}},
		`{"route":["/a","/b"]}`:                  {Routes: []string{"/a", "/b"}},
		`{"header":[["x","1"],["y"]]}`:           {Headers: [][]string{{"x", "1"}, {"y"}}},
		`{"maybe":"7"}`:                          {Maybe: &seven},
		`{"address":"127.0.0.1"}`:                {Address: netip.MustParseAddr("127.0.0.1")},
		`{"backend":{"host":"h","port":"8080"}}`: {Backend: nested{"h", 8080}},
		`{"any":"x"}`:                            {Any: "x"},
		`{"any":true}`:                           {Any: true},
	} {
		got, err := decode(t, text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		`{"gretting":"x"}`:                `unknown option "gretting"; known are address, any`,
		`{"goroutine":"x"}`:               `goroutines`,
		`{"hidden":"1"}`:                  `unknown option "hidden"`,
		`{"skipped":"1"}`:                 `unknown option "skipped"`,
		`{"init_sleep":"five"}`:           `option "init_sleep": a whole number expected, got "five"`,
		`{"init_sleep":1.5}`:              `option "init_sleep": a whole number expected, got "1.5"`,
		`{"small":"128"}`:                 `option "small": a whole number expected, got "128"`,
		`{"debug":"yes"}`:                 `option "debug": on or off expected, got "yes"`,
		`{"timeout":"5 parsecs"}`:         `option "timeout": a time (500ms, 5s, 1m; without a unit: seconds) expected, got "5 parsecs"`,
		`{"limit":"-1"}`:                  `option "limit": a size (1024, 64k, 1m) expected, got "-1"`,
		`{"greeting":true}`:               `option "greeting": a value is missing: a text expected`,
		`{"greeting":["a","b"]}`:          `option "greeting": one value expected (a text), got several: ["a","b"]`,
		`{"address":"nowhere"}`:           `option "address": `,
		`{"backend":{"hots":"h"}}`:        `option "backend": unknown option "hots"; known are host, port`,
		`{"backend":"h"}`:                 `option "backend": an object expected, got "h"`,
		`{"maybe":"x"}`:                   `option "maybe": a whole number expected, got "x"`,
		`{"route":["a",["b","c"]]}`:       `option "route": value 2: one value expected (a text)`,
		`{"greeting":"a","greeting":"b"}`: `option "greeting" occurs twice`,
		`{"greeting":`:                    `the configuration is not JSON`,
		`{"greeting":"x"`:                 `the configuration is not JSON`,
		`{"greeting":"x"} x`:              `the configuration is not JSON`,
		`text`:                            `this runtime takes options, not text`,
	} {
		_, err := decode(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %s", text, err, want)
		}
	}
}

func TestText(t *testing.T) {
	o, err := Parse([]byte("any text\n"))
	if err != nil {
		t.Fatal(err)
	}
	var text string
	var raw []byte
	if err := o.Decode(&text, nil); err != nil || text != "any text\n" {
		t.Errorf("a string: %q, %v", text, err)
	}
	if err := o.Decode(&raw, nil); err != nil || string(raw) != "any text\n" {
		t.Errorf("bytes: %q, %v", raw, err)
	}
	o, _ = Parse([]byte(`{"a":"b"}`))
	if err := o.Decode(&text, nil); err == nil || !strings.Contains(err.Error(), "as text") {
		t.Errorf("options for a string: %v", err)
	}
}

func TestMap(t *testing.T) {
	o, _ := Parse([]byte(`{"a":"1","b":2}`))
	var m map[string]int
	if err := o.Decode(&m, nil); err != nil || !reflect.DeepEqual(m, map[string]int{"a": 1, "b": 2}) {
		t.Errorf("got %v, %v", m, err)
	}
	var wrong int
	if err := o.Decode(&wrong, nil); err == nil {
		t.Error("an int is no configuration")
	}
}

func TestTakeLeavesTheRest(t *testing.T) {
	o, _ := Parse([]byte(`{"greeting":"x","other":"y"}`))
	var c config
	rest, err := o.Take(&c)
	if err != nil || c.Greeting != "x" || c.hidden != 0 || !reflect.DeepEqual(rest.Names, []string{"other"}) {
		t.Errorf("got %+v, %+v, %v", c, rest, err)
	}
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{"A": "a", "InitSleep": "init_sleep", "URL": "url", "BaseURL": "base_url", "HTTPPort": "http_port", "X1": "x1"} {
		if got := snake(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "500ms": 500 * time.Millisecond, "1m": time.Minute, "1h30m": 90 * time.Minute,
		"1h 30m": 90 * time.Minute, "1d": 24 * time.Hour, "1w": 7 * 24 * time.Hour, "1m5": 65 * time.Second,
	} {
		if got, ok := ParseDuration(text); !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", " ", "s", "-1s", "1x", "1m1h", "1s1s", "1.5s", "99999999999y", "5s ms", "9223372036s9223372036ms"} {
		if got, ok := ParseDuration(text); ok {
			t.Errorf("%q: taken for %v", text, got)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17": 17, "64k": 64 << 10, "1M": 1 << 20, "2g": 2 << 30} {
		if got, ok := ParseSize(text); !ok || got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "k", "-1", "+1", "1t", "1 k", "9999999999999g"} {
		if got, ok := ParseSize(text); ok {
			t.Errorf("%q: taken for %v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"greeting":"x","route":["/a"],"backend":{"port":"1"}}`)
	f.Add("text")
	f.Fuzz(func(_ *testing.T, text string) {
		o, err := Parse([]byte(text))
		if err == nil {
			o.Decode(new(config), nil) // neither panics
		}
	})
}
