//! Tenants of a command line.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use reeve_policy::{Tenant, TenantId};

/// A tenant of a command line: `ADDRESS[,ADDRESS...]` or `NAME=ADDRESS[,ADDRESS...]`.
#[derive(Clone, Debug)]
pub struct TenantArg {
    id: Option<TenantId>,
    addresses: Vec<IpNet>,
}

impl FromStr for TenantArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, list) = match text.split_once('=') {
            Some((id, list)) => (Some(id.parse().map_err(|error| format!("{error}"))?), list),
            None => (None, text),
        };
        let each = list.split([',', ';']).map(str::trim);
        let addresses = each
            .map(|part| {
                let net = part.parse::<IpNet>().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
                net.map(|net| net.trunc()).map_err(|_| format!("`{part}` is no address or prefix"))
            })
            .collect::<Result<Vec<IpNet>, String>>()?;
        Ok(Self { id, addresses })
    }
}

/// The tenants of a command line: `tenant` where one has no name, numbered where several have none.
#[must_use]
pub fn from_args(args: &[TenantArg]) -> Vec<Tenant> {
    let tenant = |(number, arg): (usize, &TenantArg)| {
        let id = match &arg.id {
            Some(id) => id.clone(),
            None if args.len() == 1 => "tenant".parse().expect("a fixed name is valid"),
            None => {
                format!("tenant-{}", number + 1).parse().expect("letters, a dash and a number are a name")
            }
        };
        Tenant { addresses: arg.addresses.clone(), ..Tenant::new(id) }
    };
    args.iter().enumerate().map(tenant).collect()
}
