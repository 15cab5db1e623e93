# The scorer and its operators' commands: `python -m streams COMMAND`. The SDK alone is a wheel and needs no image.
FROM python:3.11-slim-bookworm AS packages
COPY requirements/server.lock /tmp/server.lock
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes --compile -r /tmp/server.lock

FROM python:3.11-slim-bookworm
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/stayhand
COPY sdk ./sdk
COPY schemas ./schemas
COPY models ./models
COPY streams ./streams
COPY policies ./policies
# The state belongs to user 1000 and to group 0, so that a container that runs as any other user in group 0 can use it.
RUN /opt/venv/bin/python -m compileall -q sdk schemas models streams \
    && useradd --uid 1000 --gid 0 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin stayhand \
    && install -d -o 1000 -g 0 -m 0770 /var/lib/stayhand
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/stayhand:/opt/stayhand/sdk \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STAYHAND_STATE_DIR=/var/lib/stayhand/scorer
USER 1000:0
VOLUME /var/lib/stayhand
EXPOSE 9464
STOPSIGNAL SIGTERM
# A scorer is ready once its partitions are taken over. The port is the default one of STAYHAND_HEALTH_PORT.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/health/ready', timeout=2)"]
ENTRYPOINT ["python", "-m", "streams"]
CMD ["scorer"]
