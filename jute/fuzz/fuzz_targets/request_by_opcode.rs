//! A frame as a server gets it, a header and the record that its operation code calls for, and the
//! records of the replies.
#![no_main]

use jute::proto::*;
use jute::{OpCode, Reader};
use libfuzzer_sys::fuzz_target;
use meerkat_jute_fuzz::round_trip;

fuzz_target!(|bytes: &[u8]| {
    round_trip!(bytes, RequestHeader, ReplyHeader, MultiHeader);
    let mut reader = Reader::new(bytes);
    let Ok(header) = reader.read::<RequestHeader>() else {
        return;
    };
    let body = reader.rest();
    match OpCode(header.op) {
        OpCode::NOTIFICATION => round_trip!(body, WatcherEvent<'_>),
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
            round_trip!(
                body,
                CreateRequest<'_>,
                CreateResponse<'_>,
                Create2Response<'_>
            );
        }
        OpCode::CREATE_TTL => round_trip!(body, CreateTtlRequest<'_>, Create2Response<'_>),
        OpCode::DELETE | OpCode::DELETE_CONTAINER => round_trip!(body, DeleteRequest<'_>),
        OpCode::EXISTS => round_trip!(body, ExistsRequest<'_>, ExistsResponse),
        OpCode::GET_DATA => round_trip!(body, GetDataRequest<'_>, GetDataResponse<'_>),
        OpCode::SET_DATA => round_trip!(body, SetDataRequest<'_>, SetDataResponse),
        OpCode::GET_ACL => round_trip!(body, GetAclRequest<'_>, GetAclResponse<'_>),
        OpCode::SET_ACL => round_trip!(body, SetAclRequest<'_>, SetAclResponse),
        OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => round_trip!(
            body,
            GetChildrenRequest<'_>,
            GetChildrenResponse<'_>,
            GetChildren2Response<'_>
        ),
        OpCode::SYNC => round_trip!(body, SyncRequest<'_>, SyncResponse<'_>),
        OpCode::CHECK => round_trip!(body, CheckVersionRequest<'_>),
        OpCode::MULTI | OpCode::MULTI_READ => {
            round_trip!(body, MultiRequest<'_>, MultiResponse<'_>);
        }
        OpCode::RECONFIG => round_trip!(body, ReconfigRequest<'_>, GetDataResponse<'_>),
        OpCode::CHECK_WATCHES => round_trip!(body, CheckWatchesRequest<'_>),
        OpCode::REMOVE_WATCHES => round_trip!(body, RemoveWatchesRequest<'_>),
        OpCode::AUTH => round_trip!(body, AuthPacket<'_>),
        OpCode::SASL => round_trip!(body, GetSaslRequest<'_>, SetSaslResponse<'_>),
        OpCode::SET_WATCHES => round_trip!(body, SetWatches<'_>),
        OpCode::SET_WATCHES2 => round_trip!(body, SetWatches2<'_>),
        OpCode::GET_EPHEMERALS => {
            round_trip!(body, GetEphemeralsRequest<'_>, GetEphemeralsResponse<'_>);
        }
        OpCode::GET_ALL_CHILDREN_NUMBER => round_trip!(
            body,
            GetAllChildrenNumberRequest<'_>,
            GetAllChildrenNumberResponse
        ),
        OpCode::ADD_WATCH => round_trip!(body, AddWatchRequest<'_>, ErrorResponse),
        OpCode::WHO_AM_I => round_trip!(body, WhoAmIResponse<'_>),
        OpCode::CREATE_SESSION => round_trip!(body, CreateSessionTxn<'_>),
        _ => {}
    }
});
