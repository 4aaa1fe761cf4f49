# A camera to try things with: rtsp://HOST:8554/0 and /1, moving test pictures.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
        gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly \
    && rm -rf /var/lib/apt/lists/*
COPY tests/rtsp_server.py /opt/rtsp_server.py
RUN useradd --uid 10002 camera
USER camera
ENV RTSP_HOST=0.0.0.0
CMD ["python3", "/opt/rtsp_server.py", "8554", "2", "640", "360", "10"]
