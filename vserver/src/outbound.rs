//! The way out of the queue, as the rest of the worker calls it: nothing leaves yet, all of it stays queued.
use std::collections::{BTreeMap,HashSet};
use std::sync::Arc; use std::path::PathBuf; use std::time::Duration;
use postern_spool::*; use postern_control::query::*;
use crate::generation::Current;
pub(crate) struct OutboundParts{pub spool:Spool,pub generation:Current,pub journal:postern_track::Journal,pub state:PathBuf}
#[derive(Clone)] pub(crate) struct Outbound;
impl Outbound{
 pub(crate) fn start(_:OutboundParts,_:Vec<Due>)->Outbound{Outbound}
 pub(crate) fn accepted(&self,_:QueueId,_:Arc<Envelope>){}
 pub(crate) fn due(&self,_:Vec<Due>){}
 pub(crate) fn reloaded(&self){}
 pub(crate) async fn retry(&self,_:Which)->u64{0}
 pub(crate) async fn delete(&self,_:Which,_:bool)->u64{0}
 pub(crate) async fn freeze(&self,_:Which)->u64{0}
 pub(crate) async fn thaw(&self,_:Which)->u64{0}
 pub(crate) async fn rows(&self,_:Option<&str>,_:usize)->Vec<QueueRow>{vec![]}
 pub(crate) async fn detail(&self,_:&str)->Option<MessageDetail>{None}
 pub(crate) async fn drain(&self,_:Duration){}
 pub(crate) fn counters(&self)->BTreeMap<String,u64>{BTreeMap::new()}
}
pub(crate) fn routes_of(_:&postern_config::Definition,_:impl Fn(&str)->Option<HashSet<Box<str>>>)->postern_delivery::route::Table{Default::default()}
