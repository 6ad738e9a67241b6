package run

import (
	"strings"
	"testing"
)

func TestFindings(t *testing.T) {
	list := []Finding{{Severity: Note, Subject: "n"}, {Severity: Stop, Subject: "s1"}, {Severity: Warning, Subject: "w"}, {Severity: Stop, Subject: "s2"}}
	order := ""
	for _, f := range Pressing(list) {
		order += f.Subject + " "
	}
	if order != "s1 s2 w n " || list[0].Subject != "n" {
		t.Errorf("%s, and the list itself begins with %s", order, list[0].Subject)
	}
	few := FewFindings(list, 2, 1)
	if len(few) != 3 || few[1].Subject != "…" || !strings.Contains(few[2].Problem, "2 more") {
		t.Errorf("%+v", few)
	}
	if FewFindings(nil, 2, 5) != nil || len(FewFindings(list, 4, 5)) != 4 {
		t.Error("nothing, and all")
	}
	if !Stops(list) || Stops(list[2:3]) {
		t.Error("a Stop is one")
	}
}
