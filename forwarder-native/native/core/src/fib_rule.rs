//! Numbers of linux/fib_rules.h and linux/rtnetlink.h that the libc crate leaves out.

pub const FRA_SRC: u16 = 2;
pub const FRA_PRIORITY: u16 = 6;
pub const FRA_TABLE: u16 = 15;
pub const FRA_IP_PROTO: u16 = 22;
pub const FRA_SPORT_RANGE: u16 = 23;
pub const FRA_DPORT_RANGE: u16 = 24;
pub const FR_ACT_TO_TBL: u8 = 1;
pub const RTNH_F_ONLINK: u32 = 4;
