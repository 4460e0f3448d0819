//! End to end: the program that ships, real Postgres, real JetStream; and the rules of the house.

mod cart;
mod crash;
mod deadline;
mod durability;
mod export;
mod history;
mod import;
mod inventory;
mod log_store;
mod money;
mod parked;
mod payment;
mod personal;
mod promotion;
mod races;
mod refusals;
mod restart;
mod sale;
mod setting;
mod shop;
mod steps;
mod stream;
mod stress;
mod tidy;
mod verify;
mod writer;
