package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const agentID = "spiffe://go.test/workload"

// workloadAgent is a Workload API on grpc-go, with go-spiffe's own messages.
type workloadAgent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	mu      sync.Mutex
	changed chan struct{}
	state   *workload.X509SVIDResponse
}

// agent serves until its input ends; each line of it is an order: rotate or deny.
func agent(socket string) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fail(err)
	}
	served := &workloadAgent{changed: make(chan struct{}), state: newState()}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, served)
	go func() { _ = server.Serve(listener) }()
	say(map[string]string{"listening": socket})
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		switch orders.Text() {
		case "rotate":
			served.set(newState())
		case "deny":
			served.set(nil)
		}
	}
	server.Stop()
}

func (a *workloadAgent) set(state *workload.X509SVIDResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = state
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *workloadAgent) get() (*workload.X509SVIDResponse, chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state, a.changed
}

func (a *workloadAgent) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	headers, _ := metadata.FromIncomingContext(stream.Context())
	if mark := headers.Get("workload.spiffe.io"); len(mark) != 1 || mark[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing")
	}
	for {
		state, changed := a.get()
		if state == nil {
			return status.Error(codes.PermissionDenied, "no identity issued: 100% gone – denied")
		}
		if err := stream.Send(state); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// newState makes a root and an SVID below it; a long revocation list makes it larger than an HTTP/2 window.
func newState() *workload.X509SVIDResponse {
	id, err := url.Parse(agentID)
	if err != nil {
		fail(err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	rootKey, root := certify(template, nil, nil)
	parsed, err := x509.ParseCertificate(root)
	if err != nil {
		fail(err)
	}
	key, leaf := certify(&x509.Certificate{
		SerialNumber:          serial(),
		NotBefore:             template.NotBefore,
		NotAfter:              template.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id},
	}, parsed, rootKey)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		fail(err)
	}
	return &workload.X509SVIDResponse{
		Svids: []*workload.X509SVID{{SpiffeId: agentID, X509Svid: leaf, X509SvidKey: pkcs8, Bundle: root}},
		Crl:   [][]byte{make([]byte, 3<<20)},
	}
}

func certify(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fail(err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		fail(err)
	}
	return key, der
}

func serial() *big.Int {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		fail(err)
	}
	return number
}
