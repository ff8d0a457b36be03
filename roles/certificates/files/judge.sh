# SPDX-License-Identifier: GPL-3.0-or-later
# What is wrong with the certificate in a directory, a sentence a line; nothing when all is well. Changes nothing.
# Arguments: the directory, for how many seconds the certificate must still be valid, the names that it is for.
set -u
directory=$1 seconds=$2
shift 2

for file in key.pem cert.pem ca.pem; do
    test -s "$directory/$file" || { echo "$directory/$file is missing"; exit 0; }
done
cd "$directory" || exit 1
openssl x509 -in cert.pem -noout 2>/dev/null || { echo "$directory/cert.pem is no certificate"; exit 0; }
openssl pkey -in key.pem -noout -passin pass: 2>/dev/null || { echo "$directory/key.pem is no key, or needs a passphrase"; exit 0; }

test "$(openssl x509 -in cert.pem -noout -pubkey)" = "$(openssl pkey -in key.pem -pubout)" ||
    echo "$directory/cert.pem does not belong to key.pem"
if ! openssl x509 -in cert.pem -noout -checkend "$seconds" >/dev/null; then
    echo "$directory/cert.pem ends on $(openssl x509 -in cert.pem -noout -enddate | cut -d= -f2)"
elif why=$(openssl verify -CAfile ca.pem -untrusted cert.pem -purpose sslserver cert.pem 2>&1); then
    for name; do
        case $name in
            *:*) option=-checkip ;;
            *[!0-9.]*) option=-checkhost ;;
            *) option=-checkip ;;
        esac
        openssl x509 -in cert.pem -noout "$option" "$name" | grep -q 'does match' ||
            echo "$directory/cert.pem is not for $name"
    done
else
    echo "$directory/cert.pem was not signed by a CA in ca.pem: $(echo "$why" | grep -m1 -o 'error .*' || echo "$why" | head -1)"
fi
