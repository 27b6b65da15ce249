"""Write the dashboards: `python -m ops.grafana`. A test compares what is committed with what this makes."""

from ops.grafana.boards import files

for path, text in files().items():
    path.write_text(text)
