#!/usr/bin/env bash
# Makes the certificates and keys of a deployment; what is there already stays as it is.
#
#   credentials.sh superlink FOLDER HOST...   a certificate authority, and a certificate for the SuperLink's names
#   credentials.sh device FOLDER              a device's two keys: for its SuperLink, and for its peers
#
# Run the second on the device itself: ca.key, superlink.key, supernode and peer.key never leave the machine that they
# were made on. Needs openssl, ssh-keygen and dimat-flwr. Files are for their owner alone, what ends in .crt and .pub is
# for everybody.
set -euo pipefail
umask 077

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

say() { echo "credentials: $*" >&2; }

superlink() {
  local folder=$1 names="" host
  shift
  [ $# -gt 0 ] || usage
  mkdir -p "$folder"
  if [ ! -e "$folder/ca.key" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/ca.key"
    openssl req -x509 -new -sha256 -key "$folder/ca.key" -days "${CA_DAYS:-3650}" -out "$folder/ca.crt" \
      -subj "/CN=dimat-flwr certificate authority" -addext "basicConstraints=critical,CA:TRUE" \
      -addext "keyUsage=critical,keyCertSign,cRLSign"
  fi
  # The ServerApp reaches the SuperLink over loopback, so the certificate is for that, too.
  for host in "$@" localhost 127.0.0.1; do
    if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then names+=",IP:$host"; else names+=",DNS:$host"; fi
  done
  # A new certificate at each call: names change and certificates end, the authority stays.
  openssl ecparam -name prime256v1 -genkey -noout -out "$folder/superlink.key.new"
  openssl req -new -sha256 -key "$folder/superlink.key.new" -subj "/CN=$1" -out "$folder/superlink.csr"
  openssl x509 -req -sha256 -in "$folder/superlink.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
    -days "${DAYS:-365}" -out "$folder/superlink.crt.new" 2>/dev/null -extfile <(
      printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n'
      printf 'subjectAltName=%s\n' "${names#,}"
    )
  mv "$folder/superlink.key.new" "$folder/superlink.key"
  mv "$folder/superlink.crt.new" "$folder/superlink.crt"
  rm "$folder/superlink.csr"
  chmod 644 "$folder/ca.crt" "$folder/superlink.crt"
  say "$folder: ca.crt is for every device and for whoever starts runs; the SuperLink takes all but ca.key"
}

device() {
  local folder=$1
  mkdir -p "$folder"
  # Flower takes keys on NIST curves in OpenSSH's format.
  [ -e "$folder/supernode" ] || ssh-keygen -q -t ecdsa -b 384 -N "" -C "" -f "$folder/supernode"
  [ -e "$folder/peer.key" ] || dimat-flwr keys new "$folder/peer.key" >/dev/null
  dimat-flwr keys show "$folder/peer.key" >"$folder/peer.pub"
  chmod 644 "$folder/supernode.pub" "$folder/peer.pub"
  say "$folder: bring supernode.pub to whoever registers SuperNodes, and peer.pub to all other devices"
}

[ $# -ge 2 ] || usage
case $1 in
superlink | device) "$@" ;;
*) usage ;;
esac
