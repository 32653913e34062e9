"""tuspy as its documentation uses it: `upload_tuspy.py ENDPOINT FILE [OPTIONS]`, where OPTIONS are those of its uploader
as JSON. Prints the URL."""

import json
import sys

from tusclient import client
from tusclient.storage import filestorage

endpoint, path = sys.argv[1:3]
options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
if "store" in options:
    options |= {"store_url": True, "url_storage": filestorage.FileStorage(options.pop("store"))}

uploader = client.TusClient(endpoint).uploader(path, **options)
uploader.upload()
print(uploader.url)
