//! The znodes that a workload needs, made before it starts and removed after it.

use std::time::Duration;

use jute::proto::{CreateRequest, create_mode};
use jute::{ErrorCode, OpCode, text};

use super::{LoadError, Options, Workload};
use crate::client::{Client, ClientError, ConnectOptions, Events, open_acl};

/// Creates in flight while the znodes are made.
const BATCH: usize = 512;
/// A server that does not answer for so long is not the one to ask.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Makes what the workload expects; what an earlier run has kept is used again. All servers have
/// it when this returns.
pub(super) async fn prepare(options: &Options) -> Result<(), LoadError> {
    let prepared = async {
        prepare_znodes(options).await?;
        catch_up(options).await
    };
    prepared.await.map_err(LoadError::SetUp)
}

/// A server may be behind the one that has made the znodes.
async fn catch_up(options: &Options) -> Result<(), ClientError> {
    if options.servers.len() == 1 {
        return Ok(());
    }
    for server in &options.servers {
        let (client, _events) = Client::connect(server, &options.connect()).await?;
        client.sync("/").await?;
        client.close().await?;
    }
    Ok(())
}

/// A connection to the first server that serves: one of them may have been stopped on purpose.
async fn connect(options: &Options) -> Result<(Client, Events), ClientError> {
    let (last, others) = match options.servers.split_last() {
        Some((last, others)) => (last.as_str(), others),
        None => ("", &[][..]),
    };
    let short = ConnectOptions {
        connect_timeout: CONNECT_LIMIT,
        ..options.connect()
    };
    for server in others {
        if let Ok(connected) = Client::connect(server, &short).await {
            return Ok(connected);
        }
    }
    Client::connect(last, &options.connect()).await
}

async fn prepare_znodes(options: &Options) -> Result<(), ClientError> {
    if options.workload == Workload::Sessions {
        return Ok(());
    }
    let (client, _events) = connect(options).await?;
    if options.workload == Workload::Create {
        // Names would collide with those of an earlier run.
        client.delete_all(&options.root).await?;
    }
    make_all(&client, [options.root.clone()].into_iter(), b"").await?;
    let data = options.data();
    match options.workload {
        Workload::Create | Workload::Gap => {
            let paths = (0..options.connections).map(|lane| options.lane_path(lane));
            make_all(&client, paths, b"").await?;
        }
        Workload::Fill => {
            let paths = (0..options.parents).map(|parent| options.parent_path(parent));
            make_all(&client, paths, b"").await?;
        }
        Workload::Set | Workload::Get | Workload::Mixed => {
            let paths = (0..options.keys).map(|key| options.key_path(key));
            make_all(&client, paths, &data).await?;
            // Keys that an earlier run has left may hold data of another size.
            for key in 0..options.keys {
                let path = options.key_path(key);
                let (found, _) = client.get_data(&path, false).await?;
                if found.as_deref() != Some(&data[..]) {
                    client.set_data(&path, Some(&data), -1).await?;
                }
            }
        }
        Workload::Lock | Workload::FanOut | Workload::Sessions => {}
    }
    client.close().await
}

async fn make_all(
    client: &Client,
    paths: impl Iterator<Item = String>,
    data: &[u8],
) -> Result<(), ClientError> {
    let mut paths = paths.peekable();
    while paths.peek().is_some() {
        let mut made = Vec::with_capacity(BATCH);
        for path in paths.by_ref().take(BATCH) {
            let request = CreateRequest {
                path: text(&path),
                data: Some(data),
                acl: Some(vec![open_acl()]),
                flags: create_mode::PERSISTENT,
            };
            made.push(client.submit(OpCode::CREATE, &request).await?);
        }
        for pending in made {
            match pending.await?.err {
                ErrorCode::OK | ErrorCode::NODE_EXISTS => {}
                code => return Err(ClientError::Refused(code)),
            }
        }
    }
    Ok(())
}

/// Removes everything below the root, unless it is to be kept.
pub(super) async fn clean_up(options: &Options) -> Result<(), LoadError> {
    if options.keep || matches!(options.workload, Workload::Fill | Workload::Sessions) {
        return Ok(());
    }
    let remove = async {
        let (client, _events) = connect(options).await?;
        client.delete_all(&options.root).await?;
        client.close().await
    };
    remove.await.map_err(LoadError::CleanUp)
}
