//! The way in for fuzzers: what a peer can send, from its first byte on.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;

use super::peer::frame::put_frame;
use super::peer::{Class, Dialing, Identity, Member, Net, Stream, codec};
use super::types::{
    decode_checkpoint, decode_cluster_id, decode_entry, decode_snapshot_header, decode_vote,
};
use super::{peers, transfer};

struct NoNet;

impl Net for NoNet {
    fn dial(&self, _: u64, _: &str) -> Dialing {
        Box::pin(std::future::ready(Err(io::ErrorKind::NotFound.into())))
    }
}

/// A connection to the peer port on which these frames arrive, with sound checksums, and then these
/// bytes. Returns what arrived for the pipeline.
pub fn connection(has_secret: bool, frames: &[(u8, &[u8])], tail: &[u8]) -> Vec<(u8, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let mut links = Vec::new();
    let Ok(runtime) = runtime else { return links };
    let members = (1..=3).map(|id| Member {
        id,
        spec: format!("127.0.0.1:{id}:2"),
        is_voter: true,
    });
    let identity = Identity {
        me: 1,
        secret: has_secret.then(|| Bytes::from_static(b"secret")),
        cluster: Arc::default(),
        members: RwLock::new(members.map(|member| (member.id, member)).collect()),
        net: Arc::new(NoNet),
        complaints: super::peer::Complaints::default(),
    };
    let mut bytes = BytesMut::new();
    for (kind, body) in frames {
        put_frame(*kind, body, &mut bytes);
    }
    bytes.extend_from_slice(tail);
    let stream = Stream {
        reader: Box::new(io::Cursor::new(bytes.to_vec())),
        writer: Box::new(tokio::io::sink()),
    };
    runtime.block_on(async {
        let Ok(mut peer) = identity.accept(stream).await else {
            return;
        };
        assert!(!has_secret, "nobody knows the secret");
        assert!((2..=3).contains(&peer.id), "a stranger got in");
        while let Ok(Some(frame)) = peer.reader.next().await {
            match peer.class {
                Class::Append => drop(codec::decode_append(frame.body)),
                Class::Ask => message(&frame.body),
                Class::Snapshot => drop(transfer::decode_offer(frame.body)),
                Class::Link => links.push((frame.kind, frame.body)),
            }
        }
    });
    links
}

/// The body of a message, whatever it is.
pub fn message(body: &[u8]) {
    let bytes = Bytes::copy_from_slice(body);
    let _ = codec::decode_append(bytes.clone());
    let _ = codec::decode_append_result(bytes.clone());
    let _ = codec::decode_vote_request(bytes.clone());
    let _ = codec::decode_vote_response(bytes.clone());
    let _ = codec::decode_transfer(bytes.clone());
    let _ = peers::PeerStatus::decode(bytes.clone());
    let _ = transfer::decode_offer(bytes.clone());
    let _ = decode_snapshot_header(bytes.clone());
    let _ = decode_vote(bytes.clone());
    let _ = decode_entry(1, bytes);
    let _ = decode_cluster_id(body);
    let _ = decode_checkpoint(body);
}
