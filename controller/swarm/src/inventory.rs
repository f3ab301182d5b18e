//! Tenants by the ten thousand, each with addresses of both families and a port on one of the nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use reeve_policy::{NodeId, Tenant, TenantId};
use reeve_proto::operator::v1::ImportTenantsRequest;
use reeve_proto::operator::v1::import_tenants_request::Method;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use tonic::transport::Channel;

use crate::agent::Fleet;
use crate::{millis, until};

/// Which tenants there are.
#[derive(Clone, Copy, Debug)]
pub struct Inventory {
    pub tenants: u32,
    /// Prefixes of each: single IPv4 addresses, and one /64.
    pub addresses: u32,
    pub nodes: u32,
}

impl Inventory {
    pub fn id(self, tenant: u32) -> TenantId {
        format!("customer-{tenant}").parse().expect("letters and digits")
    }

    pub fn node(node: u32) -> NodeId {
        format!("node-{node}").parse().expect("letters and digits")
    }

    /// The address of this machine that a node connects from.
    pub fn home(node: u32) -> IpAddr {
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + node).into()
    }

    /// One of a tenant's addresses; the last is in its /64.
    pub fn address(self, tenant: u32, place: u32) -> IpAddr {
        if place + 1 >= self.addresses {
            Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | (u128::from(tenant) << 64) | 7).into()
        } else {
            Ipv4Addr::from_bits(0x0a00_0000 + tenant * (self.addresses - 1) + place).into()
        }
    }

    pub fn interface(self, tenant: u32) -> String {
        format!("{}/tap{}", Self::node(tenant % self.nodes), tenant / self.nodes)
    }

    /// One of the tenants of a node.
    pub fn tenant_on(self, node: u32, number: u32) -> TenantId {
        let there = (self.tenants / self.nodes).max(1);
        self.id((number % there * self.nodes + node) % self.tenants)
    }

    pub fn tenant(self, tenant: u32) -> Tenant {
        let addresses = (0..self.addresses).map(|place| match self.address(tenant, place) {
            address @ IpAddr::V4(_) => address.into(),
            address @ IpAddr::V6(_) => ipnet::IpNet::new(address, 64).expect("at most 128").trunc(),
        });
        Tenant {
            name: format!("Customer {tenant}"),
            addresses: addresses.collect(),
            interfaces: self.interface(tenant).parse().into_iter().collect(),
            ..Tenant::new(self.id(tenant))
        }
    }

    /// Tells the controller of all; their version.
    pub async fn import(self, operator: &Channel) -> anyhow::Result<u64> {
        let tenants = (0..self.tenants).map(|tenant| (&self.tenant(tenant)).into()).collect();
        let request = ImportTenantsRequest { tenants, method: Method::Replace.into(), ..Default::default() };
        Ok(OperatorServiceClient::new(operator.clone()).import_tenants(request).await?.into_inner().version)
    }

    /// Renames one tenant; how long until every agent knew.
    pub async fn change_one(self, operator: &Channel, fleet: &Fleet) -> anyhow::Result<Option<u64>> {
        let other = Tenant { name: "Another name".into(), ..self.tenant(0) };
        let request = ImportTenantsRequest {
            tenants: vec![(&other).into()],
            method: Method::Upsert.into(),
            ..Default::default()
        };
        let (began, before) = (Instant::now(), fleet.versions.load(Relaxed));
        OperatorServiceClient::new(operator.clone()).import_tenants(request).await?;
        let all = before + u64::from(self.nodes);
        until("every agent knows the tenant", Duration::from_secs(120), || {
            fleet.versions.load(Relaxed) >= all
        })
        .await?;
        Ok(Some(millis(began.elapsed())))
    }
}
