module gatehouse.bench/gateway

go 1.19
