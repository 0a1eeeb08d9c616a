//! Peers. A server without an ensemble has none, so nobody can be reached.

use std::future::Future;
use std::io;
use std::path::PathBuf;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2, alias};

use super::types::TypeConfig;

pub(crate) struct NoPeers;

/// A peer that this server has no way to talk to.
pub(crate) struct Peer(u64);

impl Peer {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        let error = io::Error::new(
            io::ErrorKind::NotConnected,
            format!(
                "server {} is not part of a server without an ensemble",
                self.0
            ),
        );
        Unreachable::new(&error)
    }
}

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Peer {
        Peer(target)
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = PathBuf;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _: alias::VoteOf<TypeConfig>,
        _: alias::SnapshotOf<TypeConfig, PathBuf>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
