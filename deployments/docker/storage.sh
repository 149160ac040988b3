#!/bin/sh
# S3 for one host: SeaweedFS with the identities that readvault asks for (docs/settings.md#s3), each with no more
# rights than its work needs, and with one bucket that keeps versions and knows locks. Production takes a provider.
set -eu
: "${STORAGE_BUCKET:?}" "${STORAGE_ORIGIN:?}" "${STORAGE_DATA:?}"
address=${STORAGE_ADDRESS:-0.0.0.0} port=${STORAGE_PORT:-8333}
configuration=$(mktemp -d)
trap 'rm -rf "$configuration"' EXIT

identity() {  # NAME ACCESS_KEY SECRET_KEY RIGHTS
  printf '{"name":"%s","credentials":[{"accessKey":"%s","secretKey":"%s"}],%s}' "$@"
}
allow() {  # RESOURCE ACTION…
  resource=$1; shift
  actions=$(printf ',"s3:%s"' "$@")
  printf '{"Effect":"Allow","Action":[%s],"Resource":["arn:aws:s3:::%s"]}' "${actions#,}" "$resource"
}
policy() {  # NAME STATEMENTS: the content is JSON within a string
  escaped=$(printf '{"Version":"2012-10-17","Statement":[%s]}' "$2" | sed 's/"/\\"/g')
  printf '{"name":"%s","content":"%s"}' "$1" "$escaped"
}

{
  printf '{"identities":['
  identity upload_signer "$UPLOAD_SIGNER_ACCESS_KEY" "$UPLOAD_SIGNER_SECRET_KEY" "\"actions\":[\"Write:$STORAGE_BUCKET\"],\"policyNames\":[\"upload_signer\"]"; printf ','
  identity read_signer "$READ_SIGNER_ACCESS_KEY" "$READ_SIGNER_SECRET_KEY" '"policyNames":["read_signer"]'; printf ','
  identity worker "$WORKER_ACCESS_KEY" "$WORKER_SECRET_KEY" '"policyNames":["worker"]'; printf ','
  identity maintainer "$MAINTAINER_ACCESS_KEY" "$MAINTAINER_SECRET_KEY" '"actions":["Admin"]'
  printf '],"policies":['
  policy upload_signer "$(allow "$STORAGE_BUCKET/incoming/*" PutObject)"; printf ','
  policy read_signer "$(allow "$STORAGE_BUCKET/incoming/*" GetObject GetObjectVersion),$(allow "$STORAGE_BUCKET/vault/*" GetObject GetObjectVersion),$(allow "$STORAGE_BUCKET/exports/*" GetObject GetObjectVersion)"; printf ','
  policy worker "$(allow "$STORAGE_BUCKET" ListBucket ListBucketVersions ListBucketMultipartUploads),$(
    allow "$STORAGE_BUCKET/*" GetObject GetObjectVersion PutObject),$(
    allow "$STORAGE_BUCKET/*" ListMultipartUploadParts AbortMultipartUpload),$(
    allow "$STORAGE_BUCKET/*" GetObjectRetention PutObjectRetention),$(
    allow "$STORAGE_BUCKET/*" DeleteObject DeleteObjectVersion)"
  printf ']}\n'
} > "$configuration/s3.json"
[ "${1:-}" != --show ] || { cat "$configuration/s3.json"; exit 0; }

# The inner ports ask for these instead of serving anybody; they are new at each start.
for section in jwt.signing jwt.signing.read jwt.filer_signing jwt.filer_signing.read; do
  printf '[%s]\nkey = "%s"\nexpires_after_seconds = 60\n' "$section" "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
done > "$STORAGE_DATA/security.toml"
chmod 600 "$STORAGE_DATA/security.toml" "$configuration/s3.json"
cd "$STORAGE_DATA"

weed -logtostderr mini -dir="$STORAGE_DATA" -ip=127.0.0.1 -ip.bind="$address" -master.telemetry=false -webdav=false -admin.ui=false \
  -s3.port="$port" -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$configuration/s3.json" -s3.autoCreateBucket=false \
  -s3.allowedOrigins="$STORAGE_ORIGIN" -s3.concurrentUploadLimitMB=256 &
server=$!
trap 'kill -TERM "$server" 2> /dev/null || true; wait "$server" || true; rm -rf "$configuration"' EXIT
trap 'exit 0' TERM INT

master() { printf '%s\n' "$1" | weed shell -master=127.0.0.1:9333; }
until master s3.bucket.list > /dev/null 2>&1; do
  kill -0 "$server" || exit 1
  sleep 1
done
master s3.bucket.list 2> /dev/null | grep -q "^[> ]*$STORAGE_BUCKET[[:space:]]" ||
  master "s3.bucket.create -name $STORAGE_BUCKET -withLock"
master "s3.bucket.versioning -name $STORAGE_BUCKET -enable"
echo "storage: the bucket $STORAGE_BUCKET is there"
wait "$server"
