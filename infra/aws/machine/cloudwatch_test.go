package machine_test

import (
	"encoding/xml"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"
)

// speaksCBOR stands before moto, whose CloudWatch knows the query protocol only, while the SDK speaks Smithy RPC v2 CBOR
// (https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html): it translates DescribeAlarms and passes on the rest.
func (b *bed) speaksCBOR() (url string) {
	target := parse(b.t, b.cloud.URL)
	rest := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host }}
	mux := http.NewServeMux()
	mux.Handle("/", rest)
	mux.HandleFunc("POST /service/GraniteServiceVersion20100801/operation/DescribeAlarms", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := b.describeAlarms(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		w.Header().Set("Content-Type", "application/cbor")
		_, _ = w.Write(out)
	})
	srv := httptest.NewServer(mux)
	b.t.Cleanup(srv.Close)
	return srv.URL
}

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (b *bed) describeAlarms(body []byte) ([]byte, error) {
	in, err := cbor.Decode(body)
	if err != nil {
		return nil, err
	}
	form := url.Values{}
	fields, _ := in.(cbor.Map)
	for _, name := range []string{"AlarmNames", "AlarmTypes"} {
		list, _ := fields[name].(cbor.List)
		for i, v := range list {
			text, _ := v.(cbor.String)
			form.Set(name+".member."+strconv.Itoa(i+1), string(text))
		}
	}
	answer, err := b.cloudWatch("DescribeAlarms", form)
	if err != nil {
		return nil, err
	}
	var got struct {
		Alarms []struct {
			AlarmName, AlarmArn, StateValue string
		} `xml:"DescribeAlarmsResult>MetricAlarms>member"`
	}
	if err := xml.Unmarshal(answer, &got); err != nil {
		return nil, err
	}
	alarms := cbor.List{}
	for _, a := range got.Alarms {
		alarms = append(alarms, cbor.Map{"AlarmName": cbor.String(a.AlarmName), "AlarmArn": cbor.String(a.AlarmArn), "StateValue": cbor.String(a.StateValue)})
	}
	return cbor.Encode(cbor.Map{"MetricAlarms": alarms, "CompositeAlarms": cbor.List{}}), nil
}

// cloudWatch calls moto's CloudWatch in the health check's Region.
func (b *bed) cloudWatch(action string, form url.Values) ([]byte, error) {
	return b.query("monitoring", "2010-08-01", healthRegion, action, form)
}
