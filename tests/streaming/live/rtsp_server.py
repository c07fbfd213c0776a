"""An RTSP server of GStreamer, as a program of the system's Python; lines of input set properties.

python3 rtsp_server.py PORT PIPELINE any|tcp|udp [PASSWORD]
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PROTOCOLS = {"tcp": GstRtsp.RTSPLowerTrans.TCP, "udp": GstRtsp.RTSPLowerTrans.UDP}


def main(port, pipeline, protocol, password=""):
    Gst.init(None)
    server, medias = GstRtspServer.RTSPServer(), []
    server.set_service(port)
    server.set_address("127.0.0.1")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {pipeline} )")
    factory.set_shared(True)
    if protocol in PROTOCOLS:
        factory.set_protocols(PROTOCOLS[protocol])
    factory.connect("media-configure", lambda _, media: medias.append(media))
    if password:
        token, auth = GstRtspServer.RTSPToken(), GstRtspServer.RTSPAuth()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("ada", password), token)
        server.set_auth(auth)
        role = "user, media.factory.access=true, media.factory.construct=true"
        factory.add_role_from_structure(Gst.Structure.new_from_string(role))

    def set_property(*_):
        words = sys.stdin.readline().split()
        if len(words) == 3:
            for media in medias:
                media.get_element().get_by_name(words[0]).set_property(words[1], words[2] == "true")
        return bool(words)

    GLib.io_add_watch(0, GLib.IO_IN, set_property)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
