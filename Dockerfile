# The board, for those who host it themselves (docs/hosting.md):
#   docker build -t palimpsest .
#   docker run --read-only --tmpfs /tmp -p 7860:7860 palimpsest
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

RUN useradd --uid 1000 --no-create-home --home-dir /nonexistent board
WORKDIR /app
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" "$(grep -E '^torch==' constraints.txt)" \
    && pip install --no-cache-dir -c constraints.txt -r requirements.txt
COPY . .

USER 1000
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 PALIMPSEST_CACHE=/tmp/palimpsest
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'] + '/healthz', timeout=8)"]
CMD ["python", "app.py"]
