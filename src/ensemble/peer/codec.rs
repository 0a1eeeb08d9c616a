//! Raft's messages as bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};

use crate::ensemble::types::{
    Entry, LogId, TypeConfig, Vote, decode_entry, decode_log_id, decode_vote, encode_entry,
    encode_vote, put_log_id,
};

fn put_optional(id: Option<&LogId>, out: &mut BytesMut) {
    match id {
        None => out.put_u8(0),
        Some(id) => {
            out.put_u8(1);
            put_log_id(id, out);
        }
    }
}

/// The outer `None` is for bytes that are none.
#[expect(clippy::option_option, reason = "an absent id is a value of its own")]
fn get_optional(bytes: &mut Bytes) -> Option<Option<LogId>> {
    match bytes.try_get_u8().ok()? {
        0 => Some(None),
        1 => Some(Some(decode_log_id(bytes)?)),
        _ => None,
    }
}

const VOTE_LEN: usize = 17;

fn get_vote(bytes: &mut Bytes) -> Option<Vote> {
    (bytes.len() >= VOTE_LEN)
        .then(|| bytes.split_to(VOTE_LEN))
        .and_then(decode_vote)
}

/// Vote, previous log id, committed log id, first index, then each entry behind its length.
pub(crate) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&encode_vote(&request.vote));
    put_optional(request.prev_log_id.as_ref(), &mut out);
    put_optional(request.leader_commit.as_ref(), &mut out);
    out.put_u64(
        request
            .entries
            .first()
            .map_or(0, |entry| entry.log_id.index),
    );
    for entry in &request.entries {
        let record = encode_entry(entry);
        out.put_u32(u32::try_from(record.len()).unwrap_or(u32::MAX));
        out.put_slice(&record);
    }
    out.freeze()
}

pub(crate) fn decode_append(mut bytes: Bytes) -> Option<AppendEntriesRequest<TypeConfig>> {
    let vote = get_vote(&mut bytes)?;
    let prev_log_id = get_optional(&mut bytes)?;
    let leader_commit = get_optional(&mut bytes)?;
    let mut index = bytes.try_get_u64().ok()?;
    let mut entries: Vec<Entry> = Vec::new();
    while !bytes.is_empty() {
        let len = bytes.try_get_u32().ok()? as usize;
        if len > bytes.len() {
            return None;
        }
        entries.push(decode_entry(index, bytes.split_to(len))?);
        index = index.checked_add(1)?;
    }
    Some(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

pub(crate) fn encode_append_result(result: &StreamAppendResult<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    match result {
        Ok(last) => {
            out.put_u8(0);
            put_optional(last.as_ref(), &mut out);
        }
        Err(StreamAppendError::Conflict(id)) => {
            out.put_u8(1);
            put_log_id(id, &mut out);
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            out.put_u8(2);
            out.put_slice(&encode_vote(vote));
        }
    }
    out.freeze()
}

pub(crate) fn decode_append_result(mut bytes: Bytes) -> Option<StreamAppendResult<TypeConfig>> {
    match bytes.try_get_u8().ok()? {
        0 => Some(Ok(get_optional(&mut bytes)?)),
        1 => Some(Err(StreamAppendError::Conflict(decode_log_id(&mut bytes)?))),
        2 => Some(Err(StreamAppendError::HigherVote(get_vote(&mut bytes)?))),
        _ => None,
    }
}

pub(crate) fn encode_vote_request(request: &VoteRequest<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&encode_vote(&request.vote));
    put_optional(request.last_log_id.as_ref(), &mut out);
    out.put_u8(u8::from(request.leadership_transfer));
    out.freeze()
}

pub(crate) fn decode_vote_request(mut bytes: Bytes) -> Option<VoteRequest<TypeConfig>> {
    let vote = get_vote(&mut bytes)?;
    let last_log_id = get_optional(&mut bytes)?;
    let mut request = VoteRequest::new(vote, last_log_id);
    request.leadership_transfer = bytes.try_get_u8().ok()? != 0;
    Some(request)
}

pub(crate) fn encode_vote_response(response: &VoteResponse<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&encode_vote(&response.vote));
    out.put_u8(u8::from(response.vote_granted));
    put_optional(response.last_log_id.as_ref(), &mut out);
    out.freeze()
}

pub(crate) fn decode_vote_response(mut bytes: Bytes) -> Option<VoteResponse<TypeConfig>> {
    let vote = get_vote(&mut bytes)?;
    let granted = bytes.try_get_u8().ok()? != 0;
    Some(VoteResponse::new(vote, get_optional(&mut bytes)?, granted))
}

pub(crate) fn encode_transfer(request: &TransferLeaderRequest<TypeConfig>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&encode_vote(request.from_leader()));
    out.put_u64(*request.to_node_id());
    put_optional(request.last_log_id(), &mut out);
    out.freeze()
}

pub(crate) fn decode_transfer(mut bytes: Bytes) -> Option<TransferLeaderRequest<TypeConfig>> {
    let from = get_vote(&mut bytes)?;
    let to = bytes.try_get_u64().ok()?;
    Some(TransferLeaderRequest::new(
        from,
        to,
        get_optional(&mut bytes)?,
    ))
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::ensemble::types::{LeaderId, Payload, log_id};

    fn vote() -> Vote {
        Vote {
            leader_id: LeaderId {
                term: 3,
                voted_for: 2,
            },
            committed: true,
        }
    }

    #[test]
    fn messages_round_trip_and_no_cut_panics() {
        let entry = |index, payload: &'static [u8]| Entry {
            log_id: log_id(3, index),
            payload: EntryPayload::Normal(Payload(Bytes::from_static(payload))),
        };
        let append = AppendEntriesRequest {
            vote: vote(),
            prev_log_id: Some(log_id(2, 4)),
            entries: vec![entry(5, b"one"), entry(6, b"")],
            leader_commit: Some(log_id(2, 3)),
        };
        let bytes = encode_append(&append);
        let decoded = decode_append(bytes.clone()).expect("whole");
        assert_eq!(decoded.entries, append.entries);
        assert_eq!(
            (decoded.vote, decoded.prev_log_id, decoded.leader_commit),
            (append.vote, append.prev_log_id, append.leader_commit)
        );
        for cut in 0..bytes.len() {
            let _ = decode_append(bytes.slice(..cut));
        }
        let request = VoteRequest::new(vote(), Some(log_id(1, 1)));
        let bytes = encode_vote_request(&request);
        assert_eq!(decode_vote_request(bytes), Some(request));
        let response = VoteResponse::new(vote(), None, true);
        let bytes = encode_vote_response(&response);
        assert_eq!(decode_vote_response(bytes), Some(response));
        for result in [
            Ok(None),
            Ok(Some(log_id(1, 2))),
            Err(StreamAppendError::Conflict(log_id(1, 2))),
            Err(StreamAppendError::HigherVote(vote())),
        ] {
            let bytes = encode_append_result(&result);
            assert_eq!(decode_append_result(bytes), Some(result));
        }
        let transfer = TransferLeaderRequest::new(vote(), 3, Some(log_id(1, 2)));
        let bytes = encode_transfer(&transfer);
        assert_eq!(decode_transfer(bytes), Some(transfer));
    }
}
