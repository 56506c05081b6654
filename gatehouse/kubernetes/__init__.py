"""`gatehouse kubernetes`: draws the manifests in deploy/kubernetes from the list that docker-compose uses."""
