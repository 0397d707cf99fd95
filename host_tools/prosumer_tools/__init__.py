"""Host tools of the prosumer edge agent: one command a stage, and a whole street on a desk."""
