# A server in a container, over a folder of documents. docs/operate.md says how to run it.
FROM python:3.12-slim AS build
COPY . /src
RUN python -m venv /opt/pocket-colbert \
    && /opt/pocket-colbert/bin/pip install --no-cache-dir '/src[server,files]'

FROM python:3.12-slim
COPY --from=build /opt/pocket-colbert /opt/pocket-colbert
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin pocket \
    && install --directory --owner=10001 --group=10001 /index
ENV PATH=/opt/pocket-colbert/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /index
VOLUME /index
EXPOSE 8470
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8470/health', timeout=4)"]
ENTRYPOINT ["pocket-colbert", "serve"]
# Other machines can connect, so the server does not start without POCKET_COLBERT_TOKEN.
CMD ["/data", "--into", "/index/data.index", "--host", "0.0.0.0"]
