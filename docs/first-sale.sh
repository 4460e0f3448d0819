#!/usr/bin/env bash
# One sale with curl only: search, fill a cart, pay, and read back what happened.
#   SHOP=http://127.0.0.1:8080 STAFF_TOKEN=$(daybook token --role owner) docs/first-sale.sh
set -euo pipefail
SHOP=${SHOP:-http://127.0.0.1:8080}
STAFF_TOKEN=${STAFF_TOKEN:?set it to a token of the owner: STAFF_TOKEN=\$(target/release/daybook token --role owner)}
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

# call METHOD PATH [BODY]: prints the answer; $token is then the write's consistency token, and every later read waits for it.
token=""
call() {
  local method=$1 path=$2 body=${3-} args=(-sS --fail-with-body -X "$1" -D "$headers" -H 'Prefer: wait=10')
  [ -z "$token" ] || args+=(-H "Consistency-Token: $token")
  [ -z "$body" ] || args+=(-H 'Content-Type: application/json' --data "$body")
  [[ $path != /v1/admin/* && $path != /v1/streams/* ]] || args+=(-H "Authorization: Bearer $STAFF_TOKEN")
  curl "${args[@]}" "$SHOP$path"
}
written() { token=$(sed -n 's/^consistency-token: *\([0-9.]*\).*/\1/Ip' "$headers"); }
# field NAME: the first value of that name in the JSON on stdin.
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

echo "== search: coffee in stock, counted by brand"
found=$(call GET '/v1/products?q=coffee&in_stock=true&facets=brand,category&limit=5&lang=en')
echo "$found" | grep -o '"facets":{.*' | cut -c 1-200
brand=$(echo "$found" | field brand)
narrowed=$(call GET "/v1/products?q=coffee&in_stock=true&limit=5&lang=en&brand=$(printf %s "$brand" | sed 's/ /%20/g; s/&/%26/g')")
echo "of $brand: $(echo "$narrowed" | grep -o '"total":[0-9]*')"

echo "== a cart with three things"
cart=$(call POST /v1/carts '{"currency":"EUR","country":"DE"}' | field id)
skus=$(call GET '/v1/products?in_stock=true&limit=20&lang=en' | grep -o '"variants":\[{[^]]*' | grep -o '"sku":"[^"]*"' | cut -d '"' -f 4 | awk '!seen[$0]++')
added=0
for sku in $skus; do
  if call POST "/v1/carts/$cart/lines" "{\"sku\":\"$sku\",\"quantity\":1}" > /dev/null 2>&1; then
    written; bought=$sku; added=$((added + 1)); echo "added $sku"
  fi
  [ "$added" -lt 3 ] || break
done
[ "$added" -eq 3 ] || { echo "could not add three things" >&2; exit 1; }
stock_of() { call GET "/v1/admin/stock/$1" | grep -o '"available":-\?[0-9]*' | head -n 1 | cut -d : -f 2; }
before=$(stock_of "$bought")

echo "== address, shipping, payment"
call PUT "/v1/carts/$cart/contact" '{"email":"noor@example.org","shipping_address":{"name":"Noor Haddad","line1":"Am Kanal 3","city":"Berlin","postal_code":"10999","country":"DE"}}' > /dev/null; written
option=$(call GET "/v1/carts/$cart/shipping-options" | field id)
call PUT "/v1/carts/$cart/shipping-option" "{\"id\":\"$option\"}" > /dev/null; written
order=$(call POST "/v1/carts/$cart/checkout" '{"payment":{"provider":"sandbox","token":"tok_approve"}}'); written
id=$(echo "$order" | field id); order_token=$(echo "$order" | field order_token)
echo "order $(echo "$order" | field number): $(echo "$order" | field status), payment $(echo "$order" | field payment_status)"

echo "== the order, its stock and its history, each read with the write's token ($token)"
status=$(call GET "/v1/orders/$id?token=$order_token" | field status)
[ "$status" = confirmed ] || { echo "the order is $status" >&2; exit 1; }
after=$(stock_of "$bought")
echo "$bought: $before available before, $after after"
[ "$after" -eq $((before - 1)) ] || { echo "the stock did not go down by one" >&2; exit 1; }
call GET "/v1/streams/order/$id" | grep -o '"type":"order[^"]*"\|"causationid":"[^"]*"\|"position":"[^"]*"' | paste - - - 
echo "confirmed"
