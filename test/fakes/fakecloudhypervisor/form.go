//go:build linux

package fakecloudhypervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// CheckBody says what is wrong with the body of a request: a field that is
// unknown or missing, or of the wrong type. Cloud Hypervisor itself passes over
// fields that it does not know, so that one that is misspelt does nothing.
func CheckBody(call string, body []byte) error {
	c, known := calls[call]
	switch {
	case !known:
		return errUnknownCall
	case (c.body == nil) != (len(body) == 0):
		return errBadRequest // an action with a body, or a body that is missing
	case c.body == nil:
		return nil
	}
	return check(c.body, call, body)
}

// check reads one JSON value, and holds it against a form.
func check(want form, path string, body []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	switch {
	case err != nil:
	case decoder.More():
		err = fmt.Errorf("more than one JSON value")
	default:
		err = want.check(path, value)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBadBody, err)
	}
	return nil
}

// form is what a JSON value has to be.
type form interface {
	check(path string, value any) error
}

type (
	// object has the fields of these names, and no others.
	object map[string]form
	// required is a field that an object must have.
	required struct{ form }
	// list has elements of one form.
	list struct{ of form }
	// text is one of these strings, or any.
	text []string
	// flag is true or false.
	flag struct{}
	// atLeast is a whole number, and this or more.
	atLeast int64
)

func (want object) check(path string, value any) error {
	fields, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: want an object, have %v", path, value)
	}
	for name, field := range want {
		if _, must := field.(required); must && fields[name] == nil {
			return fmt.Errorf("%s: missing field `%s`", path, name)
		}
	}
	for name, value := range fields {
		field, known := want[name]
		if !known {
			return fmt.Errorf("%s: unknown field `%s`", path, name)
		}
		if err := field.check(path+"."+name, value); err != nil {
			return err
		}
	}
	return nil
}

func (want list) check(path string, value any) error {
	elements, ok := value.([]any)
	if !ok {
		return fmt.Errorf("%s: want a list, have %v", path, value)
	}
	for i, element := range elements {
		if err := want.of.check(fmt.Sprintf("%s[%d]", path, i), element); err != nil {
			return err
		}
	}
	return nil
}

func (want text) check(path string, value any) error {
	if have, ok := value.(string); !ok || len(want) > 0 && !slices.Contains(want, have) {
		return fmt.Errorf("%s: want a string %q, have %v", path, []string(want), value)
	}
	return nil
}

func (flag) check(path string, value any) error {
	if _, ok := value.(bool); !ok {
		return fmt.Errorf("%s: want true or false, have %v", path, value)
	}
	return nil
}

func (want atLeast) check(path string, value any) error {
	number, ok := value.(json.Number)
	have, err := number.Int64()
	if !ok || err != nil || have < int64(want) {
		return fmt.Errorf("%s: want a whole number from %d on, have %v", path, want, value)
	}
	return nil
}
