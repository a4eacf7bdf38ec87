//! Row 4: bytes there and back.

use crate::{
    context::Context,
    row::{Against, Row, Target, Unit},
};

const SIZES: [(&str, u64); 3] = [("64 KiB", 64 << 10), ("1 MiB", 1 << 20), ("64 MiB", 64 << 20)];

/// Row 4.
pub(crate) fn row(context: &Context) -> Row {
    let mut row = Row::new(
        4,
        "bytes there and back",
        "One worker gives bytes back as they came, one call at a time; MB/s are counted one way. \
         The raw socket carries the same bytes between two processes that keep their buffers. \
         `ours` decodes and encodes at both ends, as usual programs do (`ByteBuf`); `not decoded` \
         hands over and takes back MessagePack as it is (`Encoded`, a raw function).",
    );
    let peers = &context.peers;
    for (size, bytes) in SIZES {
        let parameters = format!("bytes workers=1 size={bytes}");
        let limit = format!("size={bytes}");
        row.add(context.limit(&format!("raw socket, {size}"), "limit-bytes", &limit));
        let name = |peer: &str| format!("{peer}, {size}");
        let python = |peer, script| peers.python(&name(peer), script, &parameters);
        row.add(python("multiprocessing.Pool", "multiprocessing_pool.py"));
        row.add(python("billiard", "billiard_pool.py"));
        row.add(python("mpire", "mpire_pool.py"));
        row.add(peers.node(&name("piscina (threads)"), "piscina.js", &parameters));
        row.add(peers.rust(&name("procspawn"), "procspawn-peer", &parameters));
        row.add(peers.rust(&name("ipc-channel (no pool)"), "ipc-channel-peer", &parameters));
        for (ours, form) in [("ours", "typed"), ("ours, not decoded", "encoded")] {
            let parameters = format!("workers=1 size={bytes} form={form}");
            row.add(context.ours(&name(ours), "ours-bytes", &parameters));
        }
    }
    row.column("mb_per_second", "MB/s", Unit::Plain("MB/s"));
    for (size, _) in SIZES {
        let ours = format!("ours, {size}");
        let limit = || Against::Subject(format!("raw socket, {size}"), "mb_per_second");
        row.least(size, (&ours, "mb_per_second"), limit(), Target::AtLeast(0.8));
        row.aim(size, (&ours, "mb_per_second"), limit(), Target::AtLeast(2.0));
    }
    row
}
