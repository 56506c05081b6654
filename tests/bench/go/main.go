// A gateway as teams write it in Go with the standard library: it verifies the token, counts the request
// against the limit of its user, counts it for the metrics, writes an access line and forwards it.
//
//	PORT=8000 BACKEND=http://127.0.0.1:9000 JWT_SECRET=… gateway
package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	burst     = 1e6
	perSecond = 1e6
)

type claims struct {
	Subject  string  `json:"sub"`
	Issuer   string  `json:"iss"`
	Audience string  `json:"aud"`
	Expires  float64 `json:"exp"`
}

var errToken = errors.New("invalid token")

// verify checks the signature (HS256) and the claims of a token.
func verify(token string, secret []byte) (claims, error) {
	var found claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return found, errToken
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	if decode(parts[0], &header) != nil || header.Algorithm != "HS256" {
		return found, errToken
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) || decode(parts[1], &found) != nil {
		return found, errToken
	}
	if found.Issuer != "gatehouse" || found.Audience != "gatehouse" || found.Expires < float64(time.Now().Unix()) {
		return found, errToken
	}
	return found, nil
}

func decode(part string, value any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, value)
}

// limiter holds one token bucket for each user.
type limiter struct {
	mutex   sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	seen   time.Time
}

func (l *limiter) allows(user string) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	now := time.Now()
	found := l.buckets[user]
	if found == nil {
		found = &bucket{burst, now}
		l.buckets[user] = found
	}
	found.tokens += now.Sub(found.seen).Seconds() * perSecond
	if found.tokens > burst {
		found.tokens = burst
	}
	found.seen = now
	if found.tokens < 1 {
		return false
	}
	found.tokens--
	return true
}

// recorder keeps the status and the size of a response.
type recorder struct {
	http.ResponseWriter
	status, bytes int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(data []byte) (int, error) {
	written, err := r.ResponseWriter.Write(data)
	r.bytes += written
	return written, err
}

func (r *recorder) Flush() { r.ResponseWriter.(http.Flusher).Flush() }

func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r.ResponseWriter.(http.Hijacker).Hijack()
}

type line struct {
	Method string  `json:"method"`
	Path   string  `json:"path"`
	Status int     `json:"status"`
	Ms     float64 `json:"ms"`
	User   string  `json:"user_id"`
	IP     string  `json:"ip"`
	Bytes  int     `json:"bytes_out"`
	Time   string  `json:"timestamp"`
}

func main() {
	backend, err := url.Parse(os.Getenv("BACKEND"))
	if err != nil {
		log.Fatal(err)
	}
	secret := []byte(os.Getenv("JWT_SECRET"))
	proxy := httputil.NewSingleHostReverseProxy(backend)
	proxy.Transport = &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute}
	limits := &limiter{buckets: map[string]*bucket{}}
	var requests [600]atomic.Int64
	lines := log.New(os.Stdout, "", 0)
	handler := http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		started := time.Now()
		response := &recorder{writer, http.StatusOK, 0}
		caller, err := verify(strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer "), secret)
		switch {
		case err != nil:
			http.Error(response, "unauthenticated", http.StatusUnauthorized)
		case !limits.allows(caller.Subject):
			http.Error(response, "too many requests", http.StatusTooManyRequests)
		default:
			request.Header.Set("X-User-Id", caller.Subject)
			proxy.ServeHTTP(response, request)
		}
		requests[response.status].Add(1)
		ip, _, _ := net.SplitHostPort(request.RemoteAddr)
		ms := float64(time.Since(started).Microseconds()) / 1000
		text, _ := json.Marshal(line{
			request.Method, request.URL.Path, response.status, ms, caller.Subject, ip, response.bytes,
			started.UTC().Format(time.RFC3339Nano),
		})
		lines.Print(string(text))
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler))
}
