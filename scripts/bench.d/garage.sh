# shellcheck shell=bash
# A Garage server of one node on loopback, and the environment with which S3 clients find it.

garage_client() { "$garage" -c "$work/garage/garage.toml" "$@"; }

start_garage() {
    mkdir -p "$work/garage"
    cat >"$work/garage/garage.toml" <<CONF
metadata_dir = "$work/garage/meta"
data_dir = "$work/garage/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:54911"
rpc_public_addr = "127.0.0.1:54911"
rpc_secret = "$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:54910"
CONF
    "$garage" -c "$work/garage/garage.toml" server >"$work/garage/log" 2>&1 &
    garage_process=$!
    local tries node
    for ((tries = 0; tries < 100; tries++)); do
        garage_client status >/dev/null 2>&1 && break
        sleep 0.1
    done
    node=$(garage_client node id -q | cut -d@ -f1)
    garage_client layout assign "$node" -z one -c 100G >/dev/null
    garage_client layout apply --version 1 >/dev/null
    local key
    key=$(garage_client key create bench)
    AWS_ACCESS_KEY_ID=$(awk '/Key ID:/ { print $3 }' <<<"$key")
    AWS_SECRET_ACCESS_KEY=$(awk '/Secret key:/ { print $3 }' <<<"$key")
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    export AWS_ENDPOINT_URL=http://127.0.0.1:54910 AWS_REGION=garage AWS_DEFAULT_REGION=garage
}

garage_bucket() {
    garage_client bucket create "$1" >/dev/null
    garage_client bucket allow --read --write --owner "$1" --key bench >/dev/null
}

stop_garage() {
    [ -z "${garage_process:-}" ] || kill "$garage_process" 2>/dev/null || true
    garage_process=
    rm -rf "$work/garage"
}
