"""Training: self-supervised from grey frames or the events themselves, or with labels where the flow is known."""

from flownet.train.config import TrainConfig as TrainConfig
from flownet.train.config import config_file as config_file
from flownet.train.config import load_config as load_config
from flownet.train.run import build as build
from flownet.train.run import check_device as check_device
from flownet.train.run import train as train
from flownet.train.step import training_step as training_step
