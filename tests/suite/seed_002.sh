curl -X POST http://localhost:8080/api/users/register \
  -H "Content-Type: application/json" \
  -d '{
    "email": "user@example.com",
    "password": "securepassword123"
  }'

curl -X POST http://localhost:8080/api/users/login \
  -H "Content-Type: application/json" \
  -d '{
    "email": "user@example.com",
    "password": "securepassword123"
  }'

curl http://localhost:8080/api/users/me \
  -H "Authorization: Bearer YOUR_JWT_TOKEN"

curl -X POST http://localhost:8080/api/files \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -F "file=@/path/to/your/file.pdf"

curl http://localhost:8080/api/files \
  -H "Authorization: Bearer YOUR_JWT_TOKEN"

curl http://localhost:8080/api/files/{fileID} \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -O

curl http://localhost:8080/api/audit/logs \
  -H "Authorization: Bearer YOUR_JWT_TOKEN"
