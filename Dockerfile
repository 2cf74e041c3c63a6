FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /starlight . && mkdir /data

# Reports and tickets show names of all scripts.
FROM golang:1.26 AS fonts
RUN apt-get update && apt-get install -y --no-install-recommends fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji \
 && find /usr/share/fonts -type f ! -name '*-Regular.*' ! -name '*-Bold.*' ! -name NotoColorEmoji.ttf -delete

FROM scratch
COPY --from=fonts /usr/share/fonts /usr/share/fonts
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /starlight /starlight
COPY --from=build --chown=65532:65532 /data /data
# The audit folds the streams beside the ledger, in a file.
ENV TMPDIR=/data
USER 65532:65532
VOLUME /data
EXPOSE 8080 9090
ENTRYPOINT ["/starlight"]
CMD ["up", "--data", "/data", "--http", "0.0.0.0:8080", "--ops", "0.0.0.0:9090"]
