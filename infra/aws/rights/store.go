package rights

import (
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Store is an S3 server that knows other credentials than the functions'.
type Store struct {
	Endpoint, Region string
	Credentials      aws.Credentials
}

// forward signs a request with the store's own credentials and passes it on.
func (s Store) forward(w http.ResponseWriter, r *http.Request) {
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI, out.Host, out.URL.Scheme, out.URL.Host = "", target.Host, target.Scheme, target.Host
	for _, h := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "Connection"} {
		out.Header.Del(h)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
	if err := signer.SignHTTP(r.Context(), s.Credentials, out, r.Header.Get("X-Amz-Content-Sha256"), "s3", s.Region, time.Now()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	res, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	for k, v := range res.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body) // who asked sees a body that is cut short
}
