"""What tests share: graphs, fakes, fixtures' parts."""
