// The users and orders endpoints of the benchmark as teams write them in Go: net/http, database/sql and SQLite.
//
// It does the work of ours: it verifies the token, and places an order with its history, its event and its
// audit record in one transaction. The tables, indexes and pragmas are the same. Statements are prepared once.
//
//	PORT=8000 DATABASE=/tmp/go.db JWT_SECRET=… service
package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	_ "github.com/mattn/go-sqlite3"
)

const (
	schema = `
CREATE TABLE IF NOT EXISTS users (
	id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL, first_name TEXT, last_name TEXT, created TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (
	id TEXT PRIMARY KEY, user_id TEXT NOT NULL, product_name TEXT NOT NULL, quantity INTEGER NOT NULL,
	total_minor INTEGER NOT NULL, currency TEXT NOT NULL, status TEXT NOT NULL, version INTEGER NOT NULL,
	created TEXT NOT NULL, updated TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS orders_user_id ON orders (user_id, id);
CREATE INDEX IF NOT EXISTS orders_status ON orders (status, id);
CREATE INDEX IF NOT EXISTS orders_user_status ON orders (user_id, status, id);
CREATE TABLE IF NOT EXISTS order_steps (
	id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders (id) ON DELETE CASCADE, from_status TEXT,
	status TEXT NOT NULL, by TEXT NOT NULL, timestamp TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS order_steps_order ON order_steps (order_id);
CREATE TABLE IF NOT EXISTS outbox (
	seq INTEGER PRIMARY KEY AUTOINCREMENT, subscriber TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
	created TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, leased_until TEXT, lease TEXT
);
CREATE INDEX IF NOT EXISTS outbox_subscriber ON outbox (subscriber, key, seq);
`
	insertUser   = `INSERT INTO users (id, email, created) VALUES (?, ?, ?)`
	selectUser   = `SELECT id, email, first_name, last_name, created FROM users WHERE id = ?`
	insertOrder  = `INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`
	selectOrders = `SELECT id, user_id, product_name, quantity, total_minor, currency, status, version, created,
	updated FROM orders WHERE user_id = ? ORDER BY id DESC LIMIT ?`
	insertStep  = `INSERT INTO order_steps VALUES (?, ?, NULL, ?, ?, ?)`
	insertEvent = `INSERT INTO outbox (subscriber, key, body, created) VALUES (?, ?, ?, ?)`
	timeFormat  = "2006-01-02T15:04:05.000000Z07:00"
	bodyMax     = 64 * 1024
)

var errToken = errors.New("invalid token")

// service holds the prepared statements: one connection writes, several read.
type service struct {
	secret                               []byte
	parser                               *jwt.Parser
	writing                              *sql.DB
	user, orders                         *sql.Stmt
	newUser, newOrder, newStep, newEvent *sql.Stmt
}

type user struct {
	ID        string  `json:"id"`
	Email     string  `json:"email"`
	FirstName *string `json:"first_name"`
	LastName  *string `json:"last_name"`
	Created   string  `json:"created"`
}

type order struct {
	ID          string  `json:"id"`
	UserID      string  `json:"user_id"`
	ProductName string  `json:"product_name"`
	Quantity    int     `json:"quantity"`
	TotalPrice  float64 `json:"total_price"`
	Currency    string  `json:"currency"`
	Status      string  `json:"status"`
	Version     int     `json:"version"`
	Created     string  `json:"created"`
	Updated     string  `json:"updated"`
}

type record struct {
	UserID    string `json:"user_id"`
	Actor     string `json:"actor"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	IP        string `json:"ip"`
	UserAgent string `json:"user_agent"`
	Timestamp string `json:"timestamp"`
	Outcome   string `json:"outcome"`
	Status    int    `json:"status"`
	Service   string `json:"service"`
	RequestID string `json:"request_id"`
}

type envelope struct {
	ID        string `json:"id"`
	Topic     string `json:"topic"`
	Version   int    `json:"version"`
	Key       string `json:"key"`
	Source    string `json:"source"`
	Time      string `json:"time"`
	RequestID string `json:"request_id"`
	Data      any    `json:"data"`
}

func main() {
	made, err := open(os.Getenv("DATABASE"), []byte(os.Getenv("JWT_SECRET")))
	if err != nil {
		log.Fatal(err)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/register", made.register)
	routes.HandleFunc("/users/me", made.me)
	routes.HandleFunc("/orders", made.ordersOrPlace)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), logged(routes)))
}

func open(file string, secret []byte) (*service, error) {
	options := "?_journal_mode=WAL&_synchronous=NORMAL&_foreign_keys=on&_busy_timeout=10000"
	writing, err := sql.Open("sqlite3", "file:"+file+options+"&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	writing.SetMaxOpenConns(1)
	if _, err := writing.Exec(schema); err != nil {
		return nil, err
	}
	reading, err := sql.Open("sqlite3", "file:"+file+options)
	if err != nil {
		return nil, err
	}
	reading.SetMaxOpenConns(4)
	reading.SetMaxIdleConns(4)
	made := &service{secret: secret, writing: writing, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("gatehouse"), jwt.WithAudience("gatehouse"),
		jwt.WithExpirationRequired(),
	)}
	for _, one := range []struct {
		into *(*sql.Stmt)
		on   *sql.DB
		text string
	}{
		{&made.user, reading, selectUser}, {&made.orders, reading, selectOrders},
		{&made.newUser, writing, insertUser}, {&made.newOrder, writing, insertOrder},
		{&made.newStep, writing, insertStep}, {&made.newEvent, writing, insertEvent},
	} {
		if *one.into, err = one.on.Prepare(one.text); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// caller returns the account of the token, after checking its signature and claims.
func (s *service) caller(request *http.Request) (string, error) {
	token, isBearer := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	if !isBearer {
		return "", errToken
	}
	claims := jwt.RegisteredClaims{}
	_, err := s.parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return s.secret, nil })
	return claims.Subject, err
}

// register stores the caller's account, as auth would have told this service of it.
func (s *service) register(writer http.ResponseWriter, request *http.Request) {
	caller, err := s.caller(request)
	if err != nil {
		refuse(writer, http.StatusUnauthorized)
		return
	}
	if _, err := s.newUser.Exec(caller, caller+"@example.com", stamp()); err != nil {
		refuse(writer, http.StatusConflict)
		return
	}
	answer(writer, http.StatusCreated, map[string]string{"id": caller})
}

func (s *service) me(writer http.ResponseWriter, request *http.Request) {
	caller, err := s.caller(request)
	if err != nil {
		refuse(writer, http.StatusUnauthorized)
		return
	}
	var found user
	row := s.user.QueryRowContext(request.Context(), caller)
	err = row.Scan(&found.ID, &found.Email, &found.FirstName, &found.LastName, &found.Created)
	if err != nil {
		refuse(writer, http.StatusNotFound)
		return
	}
	answer(writer, http.StatusOK, found)
}

func (s *service) ordersOrPlace(writer http.ResponseWriter, request *http.Request) {
	caller, err := s.caller(request)
	if err != nil {
		refuse(writer, http.StatusUnauthorized)
		return
	}
	if request.Method == http.MethodPost {
		s.place(writer, request, caller)
		return
	}
	limit, err := strconv.Atoi(request.URL.Query().Get("limit"))
	if err != nil || limit < 1 || limit > 200 {
		limit = 50
	}
	rows, err := s.orders.QueryContext(request.Context(), caller, limit)
	if err != nil {
		refuse(writer, http.StatusInternalServerError)
		return
	}
	defer rows.Close()
	found := make([]order, 0, limit)
	for rows.Next() {
		var one order
		var minor int64
		err := rows.Scan(&one.ID, &one.UserID, &one.ProductName, &one.Quantity, &minor, &one.Currency,
			&one.Status, &one.Version, &one.Created, &one.Updated)
		if err != nil {
			refuse(writer, http.StatusInternalServerError)
			return
		}
		one.TotalPrice = float64(minor) / 100
		found = append(found, one)
	}
	answer(writer, http.StatusOK, found)
}

func (s *service) place(writer http.ResponseWriter, request *http.Request, caller string) {
	var body struct {
		ProductName string  `json:"product_name"`
		Quantity    int     `json:"quantity"`
		TotalPrice  float64 `json:"total_price"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(writer, request.Body, bodyMax))
	decoder.DisallowUnknownFields()
	name := ""
	if err := decoder.Decode(&body); err == nil {
		name = strings.TrimSpace(body.ProductName)
	}
	if name == "" || len(name) > 200 || body.Quantity < 1 || body.Quantity > 1_000_000 || body.TotalPrice < 0 {
		refuse(writer, http.StatusUnprocessableEntity)
		return
	}
	at := stamp()
	placed := order{
		ID: newID(), UserID: caller, ProductName: name, Quantity: body.Quantity, TotalPrice: body.TotalPrice,
		Currency: "USD", Status: "pending", Version: 1, Created: at, Updated: at,
	}
	if err := s.store(request, placed); err != nil {
		log.Print(err)
		refuse(writer, http.StatusInternalServerError)
		return
	}
	writer.Header().Set("Location", "/orders/"+placed.ID)
	writer.Header().Set("ETag", `"1"`)
	answer(writer, http.StatusCreated, placed)
}

// store writes the order, its first step, its event and the record of the request, all or none.
func (s *service) store(request *http.Request, placed order) error {
	address, _, _ := net.SplitHostPort(request.RemoteAddr)
	id := request.Header.Get("X-Request-Id")
	if id == "" {
		id = newID()
	}
	event := envelope{
		newID(), "order.placed", 1, "order " + placed.ID, "orders", placed.Created, id, placed,
	}
	audit := envelope{newID(), "action.recorded", 1, "action user:" + placed.UserID, "orders", placed.Created, id, record{
		placed.UserID, "user:" + placed.UserID, "PLACE_ORDER", placed.ID, address, request.UserAgent(),
		placed.Created, "success", http.StatusCreated, "orders", id,
	}}
	transaction, err := s.writing.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer transaction.Rollback()
	minor := int64(math.Round(placed.TotalPrice * 100))
	if _, err := transaction.Stmt(s.newOrder).Exec(placed.ID, placed.UserID, placed.ProductName, placed.Quantity,
		minor, placed.Currency, placed.Status, placed.Created, placed.Updated); err != nil {
		return err
	}
	if _, err := transaction.Stmt(s.newStep).Exec(newID(), placed.ID, placed.Status, placed.UserID,
		placed.Created); err != nil {
		return err
	}
	for _, one := range []struct {
		subscriber string
		sealed     envelope
	}{{"notifications", event}, {"audit", audit}} {
		text, err := json.Marshal(one.sealed)
		if err != nil {
			return err
		}
		_, err = transaction.Stmt(s.newEvent).Exec(one.subscriber, one.sealed.Key, string(text), placed.Created)
		if err != nil {
			return err
		}
	}
	return transaction.Commit()
}

func answer(writer http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		refuse(writer, http.StatusInternalServerError)
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.Header().Set("Cache-Control", "no-store")
	writer.WriteHeader(status)
	_, _ = writer.Write(text)
}

func refuse(writer http.ResponseWriter, status int) {
	http.Error(writer, http.StatusText(status), status)
}

// recorder keeps the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// logged writes an access line for each request.
func logged(next http.Handler) http.Handler {
	lines := log.New(os.Stdout, "", 0)
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		started := time.Now()
		response := &recorder{writer, http.StatusOK}
		next.ServeHTTP(response, request)
		text, _ := json.Marshal(struct {
			Method string  `json:"method"`
			Path   string  `json:"path"`
			Status int     `json:"status"`
			Ms     float64 `json:"ms"`
			Time   string  `json:"timestamp"`
		}{
			request.Method, request.URL.Path, response.status,
			float64(time.Since(started).Microseconds()) / 1000, started.UTC().Format(time.RFC3339Nano),
		})
		lines.Print(string(text))
	})
}

func stamp() string { return time.Now().UTC().Format(timeFormat) }

// newID returns a UUIDv7, which sorts by time.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[6:])
	milliseconds := time.Now().UnixMilli()
	for place := 5; place >= 0; place-- {
		id[place] = byte(milliseconds)
		milliseconds >>= 8
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
