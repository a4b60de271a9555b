#!/bin/sh
# A CGI program that takes its time.
sleep 0.3
printf 'Content-Type: text/plain\r\n\r\ncgi says %s' "$QUERY_STRING"
